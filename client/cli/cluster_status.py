"""`ringmill cluster status` and `list`."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import click

from client.cli import local_cluster, output
from client.cli.connecting import open_client
from client.cli.exit_codes import ExitCode
from client.cli.local_state import LocalCluster, cluster_names, load_cluster
from client.cli.local_verbs import pass_local
from client.cli.settings import Settings
from cluster.errors import Unavailable

if TYPE_CHECKING:
    from client.status import ClusterStatus, NodeStatus

__all__ = ["list_clusters", "status", "wait_healthy"]

WAIT_S = 20.0
POLL_S = 0.1
ASK_S = 1.0
COLUMNS = ("NODE", "STATE", "ADDRESS", "PID", "OWNS", "KEYS", "BYTES", "HINTS", "UP")


@click.command()
@click.option("--check", is_flag=True, help="exit 7 unless every node is up and every range complete")
@click.option("--wait", "target", type=click.Choice(["healthy"]), help="wait until it is so")
@click.pass_obj
def status(settings: Settings, check: bool, target: str | None) -> ExitCode:
    """Show the cluster as its own nodes see it; with --wait, --timeout is how long to wait  [20s]."""
    if target is not None:
        seen = asyncio.run(wait_healthy(settings, settings.timeout or WAIT_S))
        _show(settings, seen)
        if seen.health == "ok":
            return ExitCode.DONE
        is_final = _is_all_stopped(settings)
        output.note(f"not healthy: {'; '.join(seen.reasons)}")
        return ExitCode.UNHEALTHY if is_final else ExitCode.TIMED_OUT_WAITING
    seen = asyncio.run(_look(settings, settings.timeout_s))
    _show(settings, seen)
    if seen.health != "ok":
        down = [node.id for node in seen.nodes if node.state == "down"]
        if down and not settings.endpoints:
            output.next_command(settings, f"ringmill cluster restart {' '.join(down)}")
    return ExitCode.UNHEALTHY if check and seen.health != "ok" else ExitCode.DONE


@click.command("list")
@pass_local
def list_clusters(settings: Settings) -> None:
    """List the local clusters kept here."""
    found = [
        load_cluster(os.path.join(settings.home_folder, name)) for name in cluster_names(settings.home_folder)
    ]
    rows = [
        (one.name, len(one.nodes), _running(one), one.nodes[0].address, one.folder) for one in found if one
    ]
    document = [
        {"cluster": name, "nodes": nodes, "running": running, "first": first, "folder": folder}
        for name, nodes, running, first, folder in rows
    ]
    output.show(settings, document, ("CLUSTER", "NODES", "RUNNING", "FIRST", "FOLDER"), rows)


async def wait_healthy(settings: Settings, timeout_s: float) -> ClusterStatus:
    """The status once health is ok, or the last one seen: when time is up, or no node runs any more.

    Raises Unavailable when no node ever answered.
    """
    until = time.monotonic() + timeout_s
    seen: ClusterStatus | None = None
    while True:
        try:
            seen = await _look(settings, min(ASK_S, timeout_s))
            if seen.health == "ok":
                return seen
        except Unavailable:
            if seen is None and (time.monotonic() >= until or _is_all_stopped(settings)):
                raise
        if seen is not None and (time.monotonic() >= until or _is_all_stopped(settings)):
            return seen
        await asyncio.sleep(POLL_S)


async def _look(settings: Settings, timeout_s: float) -> ClusterStatus:
    async with open_client(settings) as db:
        return await db.status(timeout=min(timeout_s, ASK_S))


def _is_all_stopped(settings: Settings) -> bool:
    """A final state: a local cluster of which no process is left."""
    cluster = None if settings.endpoints else load_cluster(settings.cluster_folder)
    return cluster is not None and not _running(cluster)


def _running(cluster: LocalCluster) -> int:
    return sum(local_cluster.node_state(node) != "stopped" for node in cluster.nodes)


def _show(settings: Settings, seen: ClusterStatus) -> None:
    cluster = None if settings.endpoints else load_cluster(settings.cluster_folder)
    local = {node.id: node for node in cluster.nodes} if cluster else {}
    pids = {node.id: node.pid or (local[node.id].pid if node.id in local else None) for node in seen.nodes}
    nodes: list[dict[str, Any]] = [
        {
            "id": node.id,
            "address": node.address,
            "pid": pids[node.id],
            "state": node.state,
            "membership": node.membership,
            "owns": node.owns,
            "keys": node.keys,
            "bytes": node.bytes,
            "hints": node.hints,
            "damaged_ranges": node.damaged_ranges,
            "healing": node.healing,
            "counting": node.is_counting,
        }
        for node in seen.nodes
    ]
    ranges = seen.ranges
    document = {
        "cluster": seen.cluster,
        "epoch": seen.epoch,
        "health": seen.health,
        "reasons": list(seen.reasons),
        "coordinator": seen.coordinator,
        "ranges": {
            "ok": ranges.ok,
            "under_replicated": ranges.under_replicated,
            "no_quorum": ranges.no_quorum,
        },
        "nodes": nodes,
    }
    if settings.is_terminal:
        print(
            f"{seen.cluster}  {output.paint(settings, seen.health)}  epoch {seen.epoch}  N={seen.n}"
            f"  ranges: {ranges.ok} complete, {ranges.under_replicated} short,"
            f" {ranges.no_quorum} without quorum"
        )
    rows = [
        (
            node.id, node.state, node.address, pids[node.id], node.owns,
            _so_far(node, node.keys), _so_far(node, node.bytes), node.hints,
            None if node.uptime_s is None else f"{node.uptime_s:.0f} s",
        )
        for node in seen.nodes
    ]  # fmt: skip
    output.show(settings, document, COLUMNS, rows)
    if settings.is_terminal:
        for reason in seen.reasons:
            print(f"  {reason}")


def _so_far(node: NodeStatus, count: int | None) -> int | str | None:
    """A figure, marked while the node still counts what it found at its start."""
    return f"{count}+" if node.is_counting and count is not None else count
