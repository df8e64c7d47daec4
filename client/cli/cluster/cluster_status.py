"""`ringmill cluster status` and `list`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.cluster.hot_table import show_hot
from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.cluster.status_view import next_commands, show_status, with_paused
from ringmill.client.cli.console import failure_text, output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, cluster_names, load_cluster
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, RingmillError, Unavailable

if TYPE_CHECKING:
    from ringmill.client.administration.hot_view import HotView
    from ringmill.client.administration.status import ClusterStatus

__all__ = ["POLL_S", "ask_status", "list_clusters", "status", "wait_healthy"]

WAIT_S = 20.0
POLL_S = 0.1
ASK_S = 1.0
TELL_EVERY_S = 5.0


@click.command()
@click.option(
    "--check", is_flag=True, help="exit with 7 unless every node is up and every partition is complete"
)
@click.option(
    "--wait",
    "target",
    type=click.Choice(["healthy", "settled"]),
    help="wait until the cluster is healthy, or also no partition moves, for at most --timeout  [20s]",
)
@click.option("--hot", "is_hot", is_flag=True, help="show the keys and partitions with the most requests now")
@click.pass_obj
def status(settings: Settings, check: bool, target: str | None, is_hot: bool) -> ExitCode:
    """Show the state of each node and of the partitions, as the nodes themselves see them.

    A cluster whose partitions move is healthy, as all copies are there meanwhile; it is not settled.
    """
    if is_hot:
        if check or target is not None:
            raise InvalidArgument("--hot shows no health: it takes neither --check nor --wait")
        show_hot(settings, asyncio.run(_ask_hot(settings)))
        return ExitCode.DONE
    if target is not None:
        return _wait(settings, settings.timeout or WAIT_S, is_settled=target == "settled")
    seen = asyncio.run(ask_status(settings, settings.timeout_s))
    show_status(settings, seen, _local(settings))
    if seen.health != "ok" and not settings.endpoints and (commands := next_commands(seen)):
        output.next_command(settings, *commands)
    return ExitCode.UNHEALTHY if check and seen.health != "ok" else ExitCode.DONE


@click.command("list")
@pass_local
def list_clusters(settings: Settings) -> ExitCode:
    """List the local clusters in RINGMILL_HOME (./.ringmill unless set).

    Exits with 1 when one of them cannot be read; the others are listed all the same.
    """
    rows: list[tuple[object, ...]] = []
    document: list[dict[str, object]] = []
    damaged: list[RingmillError] = []
    for name in cluster_names(settings.home_folder):
        try:
            one = load_cluster(os.path.join(settings.home_folder, name))
        except (RingmillError, OSError) as error:
            damaged.append(failure_text.shown_error(error))
            document.append({"cluster": name, "error": str(damaged[-1])})
            continue
        if one:
            row = (
                one.name,
                len(one.nodes),
                _running(one),
                one.nodes[0].address if one.nodes else "",
                one.folder,
            )
            rows.append(row)
            document.append(dict(zip(("cluster", "nodes", "running", "first", "folder"), row, strict=True)))
    output.show(settings, document, ("CLUSTER", "NODES", "RUNNING", "FIRST", "FOLDER"), rows)
    for trouble in damaged if settings.output != "json" else ():
        failure_text.tell(trouble, ExitCode.FAILED, settings)
    return ExitCode.FAILED if damaged else ExitCode.DONE


def _wait(settings: Settings, timeout_s: float, *, is_settled: bool) -> ExitCode:
    lacks = _unsettled if is_settled else _amiss
    try:
        seen = asyncio.run(wait_healthy(settings, timeout_s, _Progress(timeout_s), lacks))
    except DeadlineExceeded as error:
        failure_text.tell(error, ExitCode.TIMED_OUT_WAITING, settings)
        return ExitCode.TIMED_OUT_WAITING
    show_status(settings, seen, _local(settings))
    if not (lack := lacks(seen)):
        return ExitCode.DONE
    output.note(f"not {'settled' if seen.health == 'ok' else 'healthy'}: {lack}")
    return ExitCode.UNHEALTHY if _is_all_stopped(settings) else ExitCode.TIMED_OUT_WAITING


def _amiss(seen: ClusterStatus) -> str:
    """Why the cluster is not healthy; "" when it is."""
    return "" if seen.health == "ok" else "; ".join(seen.reasons)


def _unsettled(seen: ClusterStatus) -> str:
    moving = [f"{seen.moving} partitions move, or wait for that"] if seen.moving else []
    return "; ".join(filter(None, [_amiss(seen), *moving]))


async def wait_healthy(
    settings: Settings,
    timeout_s: float,
    progress: Callable[[str], None] = lambda _: None,
    lacks: Callable[[ClusterStatus], str] = _amiss,
) -> ClusterStatus:
    """The status once it `lacks` nothing; the last one seen when time is up or no node runs any more.

    Calls `progress` at each look with what is still wrong.  Raises Unavailable or DeadlineExceeded when no
    node ever answered.
    """
    until = time.monotonic() + timeout_s
    seen: ClusterStatus | None = None
    while True:
        try:
            seen = await ask_status(settings, min(ASK_S, timeout_s))
            if not (lack := lacks(seen)):
                return seen
            progress(lack)
        except (Unavailable, DeadlineExceeded) as error:
            progress(str(error))
            if seen is None and (time.monotonic() >= until or _is_all_stopped(settings)):
                raise
        if seen is not None and (time.monotonic() >= until or _is_all_stopped(settings)):
            return seen
        await asyncio.sleep(POLL_S)


class _Progress:
    """Prints a line when the reasons change, and every few seconds; none if healthy at once."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        self._next = 0.0
        self._noted = ""

    def __call__(self, amiss: str) -> None:
        now = time.monotonic()
        if amiss == self._noted and now < self._next:
            return
        self._noted, self._next = amiss, now + TELL_EVERY_S
        output.note(f"waiting, {output.span(self._until - now)} left: {amiss}")


async def ask_status(settings: Settings, timeout_s: float) -> ClusterStatus:
    """The status now.  Raises Unavailable or DeadlineExceeded when no node answers."""
    async with open_client(settings) as db:
        return with_paused(await db.status(timeout=min(timeout_s, ASK_S)), _local(settings))


async def _ask_hot(settings: Settings) -> HotView:
    async with open_client(settings) as db:
        return await db.hot()


def _local(settings: Settings) -> LocalCluster | None:
    return None if settings.endpoints else load_cluster(settings.cluster_folder)


def _is_all_stopped(settings: Settings) -> bool:
    """Whether no process of a local cluster is left, so that waiting longer is useless."""
    cluster = _local(settings)
    return cluster is not None and not _running(cluster)


def _running(cluster: LocalCluster) -> int:
    return sum(local_cluster.node_state(node) != "stopped" for node in cluster.nodes)
