"""`ringmill cluster chaos`: kill, pause and restart nodes of a local cluster under a checked load."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from ringmill.client.chaos.fault_schedule import FAULT_KINDS, NodeFault
from ringmill.client.cli.chaos.chaos_view import ChaosLine, show_report
from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.console import output
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings, bounded_span_s
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, read_token
from ringmill.cluster.adapters.files.private_files import open_private
from ringmill.cluster.errors import InvalidArgument, RingmillError, Unavailable

if TYPE_CHECKING:
    from ringmill.client.chaos.chaos_run import ChaosRun
    from ringmill.client.connection import AsyncClient

__all__ = ["chaos"]

LONGEST_S = 3600.0
SHORTEST_STEP_S = 0.5
SEEDS = 2**32
_DEFAULT_KINDS = ",".join(FAULT_KINDS)


@click.command()
@click.option("--for", "span", default="60s", metavar="TIME", help="how long, up to 1h  [60s]")
@click.option("--seed", type=click.IntRange(0, SEEDS), help="seed of the schedule and the load  [drawn]")
@click.option(
    "--faults", default=_DEFAULT_KINDS, metavar="KINDS", help=f"of these, by commas  [{_DEFAULT_KINDS}]"
)
@click.option(
    "--at-once",
    type=click.IntRange(1),
    default=1,
    help="the most nodes that a fault hits at once  [1]",
)
@click.option("--every", default="3s", metavar="TIME", help="time from one fault to the next  [3s]")
@pass_local
def chaos(settings: Settings, span: str, seed: int | None, faults: str, at_once: int, every: str) -> ExitCode:
    """Kill, pause and restart nodes under a load that checks every answer.

    Exit code 0: all promises were kept; 1: one was broken, and a file has the history that shows it.  In the
    end all nodes run again.  The same seed draws the same schedule; processes keep their own timing.
    """
    from ringmill.client.chaos.chaos_run import ChaosOptions, ChaosRun

    for_s = bounded_span_s("--for", span, SHORTEST_STEP_S, LONGEST_S)
    every_s = bounded_span_s("--every", every, SHORTEST_STEP_S, for_s)
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    options = ChaosOptions(seed, secrets.token_hex(3), _kinds(faults), at_once, every_s, for_s)
    folder = settings.cluster_folder
    local_cluster.required_cluster(folder)
    with local_cluster.exclusively(folder):
        cluster = local_cluster.required_cluster(folder)
        _check_nodes(cluster, at_once)
        spare = cluster.replicas - (cluster.replicas // 2 + 1)
        run = ChaosRun(folder, [node.id for node in cluster.nodes], options, ChaosLine(for_s), spare)
        output.note(f"seed {seed}: {faults} on cluster {cluster.name} for {for_s:g} s, every {every_s:g} s")
        if at_once > spare:
            output.note(
                f"--at-once {at_once}: a quorum of {cluster.replicas} owners can spare {spare}; "
                "errors are expected while more are away"
            )
        is_interrupted = asyncio.run(_carry_out(settings, cluster, run))
    verdicts = run.verdicts()
    has_held = all(judged.has_held for judged in verdicts)
    if is_interrupted and has_held:
        raise KeyboardInterrupt
    show_report(settings, cluster, run, verdicts, "" if has_held else _write_history(folder, run))
    return ExitCode.DONE if has_held else ExitCode.FAILED


def _kinds(text: str) -> tuple[NodeFault, ...]:
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in FAULT_KINDS:
            raise InvalidArgument(
                f"--faults: {name[:40]!r} is not one of {', '.join(FAULT_KINDS)}",
                hint=f"--faults {_DEFAULT_KINDS}, or some of them",
            )
    return tuple(kind for kind in FAULT_KINDS if kind in asked)


def _check_nodes(cluster: LocalCluster, at_once: int) -> None:
    """Raise InvalidArgument for more nodes at once than there are, Unavailable when one does not run."""
    count = len(cluster.nodes)
    if at_once > count:
        raise InvalidArgument(
            f"--at-once is {at_once}, but cluster {cluster.name} has {count} nodes",
            hint=f"--at-once {count} hits all of them",
        )
    states = {node.id: local_cluster.node_state(node) for node in cluster.nodes}
    if away := [f"{name} is {state}" for name, state in states.items() if state != "running"]:
        raise Unavailable(
            f"not all nodes of cluster {cluster.name} run: {', '.join(away)}",
            hint="`ringmill cluster up` starts stopped nodes, `ringmill cluster resume` resumes paused ones",
        )


async def _carry_out(settings: Settings, cluster: LocalCluster, run: ChaosRun) -> bool:
    """Carry out the run, and leave all nodes running and no keyspace; whether a signal ended it."""
    from ringmill.client.connection import connect, follow_token
    from ringmill.client.local.authority.local_tls import tls_ca_of
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    loop = asyncio.get_running_loop()
    connected = connect(
        [node.address for node in cluster.nodes],
        timeout=min(settings.timeout_s, MAX_TIMEOUT_S),
        transport=cluster.client_transport,
        tls_ca=tls_ca_of(cluster.folder),
    )
    follow_token(connected, partial(read_token, cluster.folder))
    async with connected as db:
        going = asyncio.create_task(run.go(db))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                loop.add_signal_handler(number, going.cancel)  # without effect on the tidying up
        await asyncio.wait([going])
        run.onlooker.over()
        await loop.shutdown_default_executor()  # threads that wait for the end of a process
        await _tidy_up(db, run)
    if not going.cancelled():
        going.result()
    return going.cancelled()


async def _tidy_up(db: AsyncClient, run: ChaosRun) -> None:
    from ringmill.client.chaos.chaos_run import drop_keyspaces
    from ringmill.client.chaos.disturber import put_back

    try:
        if names := await put_back(run.folder, run.nodes):
            output.note(f"put back: {' '.join(names)}")
    except (RingmillError, OSError) as error:
        output.note(f"not all nodes serve again: {error}; try `ringmill cluster up`")
    if left := await drop_keyspaces(db, run.options):
        output.note(f"keyspaces that could not be dropped: {' '.join(left)}; `ringmill keyspace drop NAME`")


def _write_history(folder: str, run: ChaosRun) -> str:
    """Write the history of the keys whose promise was broken to a file; its path.

    "" when there are no such keys, and when the file cannot be written.
    """
    lines = run.witness()
    if not lines:
        return ""
    path = os.path.join(folder, f"chaos-{run.options.seed}-{run.options.tag}.jsonl")
    try:
        with os.fdopen(
            open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8"
        ) as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as error:  # the verdict is told all the same
        output.note(f"the history of what was broken could not be written to {path}: {error.strerror}")
        with suppress(OSError):
            os.unlink(path)
        return ""
    return path
