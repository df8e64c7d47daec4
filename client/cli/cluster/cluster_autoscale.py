"""`ringmill cluster autoscale`: nodes are added to a local cluster under pressure, and removed when idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from ringmill.client.cli.cluster.autoscale_view import ScalingLines
from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.console import output
from ringmill.client.cli.console.amounts import amount_of
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings, bounded_span_s
from ringmill.client.local import local_cluster
from ringmill.client.local.local_launcher import LocalLauncher
from ringmill.client.local.local_state import read_token
from ringmill.cluster.adapters.files.private_files import open_private
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.scaling.autoscaler import Autoscaler
    from ringmill.client.scaling.measures import Measure
    from ringmill.client.scaling.scaling_policy import ScalingRules

__all__ = ["autoscale"]

_START_S: Final = 30.0
_SHORTEST_S: Final = 0.5
_LONGEST_S: Final = 3600.0
_LONGEST_RUN_S: Final = 30 * 86400.0


@click.command()
@click.option("--min", "least", type=click.IntRange(1), required=True, help="the fewest members")
@click.option(
    "--max", "most", type=click.IntRange(1, local_cluster.MAX_NODES), required=True, help="the most members"
)
@click.option("--target-p99", metavar="TIME", help="p99 of reads that a node is to keep below, as 20ms")
@click.option("--target-cpu", metavar="N%", help="of one processor for each node, with its tasks, as 70%")
@click.option("--target-bytes", metavar="SIZE", help="of keys and objects that a node is to hold, as 10GiB")
@click.option("--low", default="50%", metavar="N%", help="idle below this share of the target  [50%]")
@click.option("--every", default="5s", metavar="TIME", help="time from one look to the next  [5s]")
@click.option("--sustained", default="30s", metavar="TIME", help="how long before a change  [30s]")
@click.option("--cool-down", default="60s", metavar="TIME", help="no change so long after one  [60s]")
@click.option("--for", "span", metavar="TIME", help="how long to go on, up to 30d  [until Ctrl-C]")
@click.option("--log", "log_path", type=click.Path(), metavar="FILE", help="append JSON lines to FILE, too")
@click.option("--dry-run", "is_dry", is_flag=True, help="decide, and change nothing")
@pass_local
def autoscale(
    settings: Settings,
    least: int,
    most: int,
    target_p99: str | None,
    target_cpu: str | None,
    target_bytes: str | None,
    low: str,
    every: str,
    sustained: str,
    cool_down: str,
    span: str | None,
    log_path: str | None,
    is_dry: bool,
) -> ExitCode:
    """Add nodes to a local cluster while it is above the target, and remove them when it is idle.

    Give one target.  Each look is a line with what was decided and why.  Only nodes that this command has
    started are removed.  Ctrl-C ends it, and partitions that move then go on moving.
    """
    from ringmill.client.scaling.scaling_policy import ScalingRules

    every_s = bounded_span_s("--every", every, _SHORTEST_S, _LONGEST_S)
    sustained_s = bounded_span_s("--sustained", sustained, 0.0, _LONGEST_S)
    cooldown_s = bounded_span_s("--cool-down", cool_down, 0.0, _LONGEST_S)
    for_s = None if span is None else bounded_span_s("--for", span, _SHORTEST_S, _LONGEST_RUN_S)
    low_share = amount_of("--low", low, "50%")
    rules = ScalingRules(least, most, low_share, sustained_s=sustained_s, cooldown_s=cooldown_s)
    targets = {"--target-p99": target_p99, "--target-cpu": target_cpu, "--target-bytes": target_bytes}
    target = _target({flag: text for flag, text in targets.items() if text is not None})
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    launcher = LocalLauncher(cluster.folder, settings.timeout or _START_S)
    with contextlib.ExitStack() as held:
        if not is_dry:
            held.enter_context(launcher.alone())
        file = None
        if log_path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            file = held.enter_context(os.fdopen(open_private(log_path, flags), "a", encoding="utf-8"))
        lines = ScalingLines(settings, file, is_dry=is_dry)
        is_interrupted = asyncio.run(
            _run_until_end(settings, launcher, target, rules, lines, (every_s, for_s))
        )
    if is_interrupted:
        raise KeyboardInterrupt
    return ExitCode.DONE


async def _run_until_end(
    settings: Settings,
    launcher: LocalLauncher,
    target: tuple[str, float],
    rules: ScalingRules,
    lines: ScalingLines,
    pace_s: tuple[float, float | None],
) -> bool:
    """Run until the time is over or a signal comes; whether one came."""
    from ringmill.client.connection import connect, follow_token
    from ringmill.client.dialling.node_links import open_link
    from ringmill.client.local.authority.local_tls import tls_ca_of, tls_files_of
    from ringmill.client.local_token import FollowedToken
    from ringmill.client.scaling.autoscaler import Autoscaler
    from ringmill.client.scaling.latency_probes import LatencyProbes
    from ringmill.client.scaling.measures import HeldBytes, ProcessorShare
    from ringmill.client.scaling.scaled_cluster import ConnectedCluster
    from ringmill.cluster.adapters.system_clock import SystemClock
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    cluster = local_cluster.required_cluster(settings.cluster_folder)
    read = partial(read_token, cluster.folder)
    token = FollowedToken(read, SystemClock())
    flag, amount = target
    measure: Measure
    if flag == "--target-p99":
        transport = cluster.client_transport
        measure = LatencyProbes(
            amount,
            lambda at: open_link(
                at, session=True, transport=transport, token=token, tls=tls_files_of(cluster)
            ),
        )
    else:
        measure = ProcessorShare(amount) if flag == "--target-cpu" else HeldBytes(amount)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, _stop, stopping)
    connected = connect(
        [node.address for node in cluster.nodes],
        timeout=min(settings.timeout_s, MAX_TIMEOUT_S),
        session=False,
        tls_ca=tls_ca_of(cluster.folder),
    )
    follow_token(connected, read)
    async with connected as db:
        scaler = Autoscaler(ConnectedCluster(db), launcher, measure, rules, lines, lines.is_dry)
        try:
            await scaler.run(*pace_s, stopping)
        finally:
            await measure.aclose()
    _tell_under_way(settings, scaler)
    return stopping.is_set()


def _stop(stopping: asyncio.Event) -> None:
    if not stopping.is_set():
        output.note("stops after this step")
    stopping.set()


def _tell_under_way(settings: Settings, scaler: Autoscaler) -> None:
    if scaler.under_way:
        output.advise(
            settings,
            f"{scaler.under_way}: partitions go on moving; `ringmill cluster moves --follow` shows it, and "
            "the next `ringmill cluster autoscale` stops a node that has left",
        )


def _target(given: dict[str, str]) -> tuple[str, float]:
    """The option and its amount: milliseconds, a share, or bytes.  Raises InvalidArgument."""
    if len(given) != 1:
        raise InvalidArgument(
            f"{len(given)} targets are given ({', '.join(given)})" if given else "no target is given",
            hint="one of --target-p99 20ms, --target-cpu 70%, --target-bytes 10GiB",
        )
    ((flag, text),) = given.items()
    if flag == "--target-p99":
        return flag, bounded_span_s(flag, text, 0.001, 1.0) * 1000
    return flag, amount_of(flag, text, "70%" if flag == "--target-cpu" else "10GiB")
