"""Shows the status of a cluster, and adds what only this machine knows: which processes are paused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from ringmill.client.administration.status import ClusterStatus, NodeStatus

__all__ = ["next_commands", "show_status", "summary", "with_paused"]

COLUMNS = ("NODE", "STATE", "ADDRESS", "PID", "OWNS", "KEYS", "BYTES", "HINTS", "UP")


def with_paused(seen: ClusterStatus, cluster: LocalCluster | None) -> ClusterStatus:
    """The status, with `paused` for the nodes of a local cluster that are stopped by SIGSTOP.

    Their peers can only call them suspect or down; the remedy is `resume`, not `restart`.
    """
    local = cluster.nodes if cluster else ()
    paused = {node.id for node in local if local_cluster.node_state(node) == "paused"}
    if not paused:
        return seen
    known = {f"{node.id} is {node.state}" for node in seen.nodes if node.id in paused}
    return replace(
        seen,
        nodes=tuple(replace(node, state="paused") if node.id in paused else node for node in seen.nodes),
        reasons=(
            *(f"{name} is paused" for name in sorted(paused)),
            *(reason for reason in seen.reasons if reason not in known),
        ),
        health="degraded" if seen.health == "ok" else seen.health,
    )


def show_status(settings: Settings, seen: ClusterStatus, cluster: LocalCluster | None) -> None:
    """Print the summary, the table and the reasons; in a pipe only the rows go to stdout.

    Zones have a column where there are several: the last one, so that the others stay where they are.
    """
    local = {node.id: node.pid for node in cluster.nodes} if cluster else {}
    pids = {node.id: node.pid or local.get(node.id) for node in seen.nodes}
    if settings.output != "json":
        (print if settings.is_terminal else output.note)(summary(settings, seen))
    has_zones = len({node.zone for node in seen.nodes}) > 1
    columns = (*COLUMNS, "ZONE") if has_zones else COLUMNS
    rows = [_row(node, pids[node.id], has_zones=has_zones) for node in seen.nodes]
    output.show(settings, _document(seen, pids), columns, rows)
    for reason in seen.reasons if settings.output != "json" else ():
        output.beside(settings, f"  {reason}")
    more = (_moves(seen), _deletes(seen), _removing(seen), _containment(seen))
    for line in more if settings.output != "json" else ():
        if line:
            output.beside(settings, f"  {line}")


def summary(settings: Settings, seen: ClusterStatus) -> str:
    """Name, health and partitions on one line."""
    partitions = seen.ranges
    return (
        f"{printable(seen.cluster)}  {output.paint(settings, seen.health)}  epoch {seen.epoch}  N={seen.n}"
        f"  partitions: {partitions.ok} complete, {partitions.under_replicated} under-replicated,"
        f" {partitions.no_quorum} without quorum"
    )


def next_commands(seen: ClusterStatus) -> list[str]:
    """The commands that bring back nodes which are down or paused, for processes of this machine."""
    states = {state: [node.id for node in seen.nodes if node.state == state] for state in ("paused", "down")}
    verbs = {"paused": "resume", "down": "restart"}
    return [f"ringmill cluster {verbs[state]} {' '.join(names)}" for state, names in states.items() if names]


def _moves(seen: ClusterStatus) -> str:
    if not seen.moving:
        return ""
    return f"{seen.moving} partitions move, or wait for that: `ringmill cluster moves`"


def _deletes(seen: ClusterStatus) -> str:
    """How many deletes are still stored, and why; "" when none are."""
    most = max((node.tombstones or 0 for node in seen.nodes), default=0)
    if not most:
        return ""
    why = next((node.purge_held_back for node in seen.nodes if node.purge_held_back), "")
    keys = "1 deleted key is" if most == 1 else f"up to {most} deleted keys of a node are"
    return f"{keys} not forgotten yet" + (f"; {why}" if why else "")


def _removing(seen: ClusterStatus) -> str:
    """Which nodes have yet to remove what dropped keyspaces have left; "" when none."""
    told = [f"{node.id}: {node.removing}" for node in seen.nodes if node.removing]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more nodes" if len(told) > 3 else "")


def _containment(seen: ClusterStatus) -> str:
    """How far nodes contain the tasks of jobs; nodes that do it alike are named once."""
    levels: dict[str, list[str]] = {}
    for node in seen.nodes:
        if node.containment:
            levels.setdefault(node.containment, []).append(node.id)
    if not levels:
        return ""
    parts = [
        f"{level}{f' on {chr(44).join(names)}' if len(levels) > 1 else ''}" for level, names in levels.items()
    ]
    return f"jobs are contained by: {'; '.join(parts)}"


def _document(seen: ClusterStatus, pids: Mapping[str, int | None]) -> dict[str, Any]:
    partitions = {
        "ok": seen.ranges.ok,
        "under_replicated": seen.ranges.under_replicated,
        "no_quorum": seen.ranges.no_quorum,
    }
    return {
        "cluster": seen.cluster,
        "epoch": seen.epoch,
        "health": seen.health,
        "reasons": list(seen.reasons),
        "coordinator": seen.coordinator,
        "voters": list(seen.voters),
        "moving": seen.moving,
        "partitions": partitions,
        "ranges": partitions,  # as programs of before read them
        "nodes": [
            {
                "id": node.id,
                "address": node.address,
                "zone": node.zone,
                "pid": pids[node.id],
                "state": node.state,
                "membership": node.membership,
                "owns": node.owns,
                "keys": node.keys,
                "bytes": node.bytes,
                "hints": node.hints,
                "awaited_hints": node.awaited_hints,
                "epoch": node.epoch,
                "uptime_s": None if node.uptime_s is None else round(node.uptime_s, 1),
                "damaged_ranges": node.damaged_ranges,
                "healing": node.healing,
                "unfilled": node.unfilled,
                "tombstones": node.tombstones,
                "purge_held_back": node.purge_held_back,
                "removing": node.removing,
                "denied": node.denied,
                "counting": node.is_counting,
                "containment": node.containment,
                "engine": dict(node.engine),
                "engine_failure": node.engine_failure,
            }
            for node in seen.nodes
        ],
    }


def _row(node: NodeStatus, pid: int | None, *, has_zones: bool) -> tuple[object, ...]:
    up = None if node.uptime_s is None else output.span(node.uptime_s)
    zone = (node.zone,) if has_zones else ()
    return (
        node.id, node.state, node.address, pid, node.owns,
        _so_far(node, node.keys), _so_far(node, node.bytes), node.hints, up, *zone,
    )  # fmt: skip


def _so_far(node: NodeStatus, count: int | None) -> int | str | None:
    """A figure, marked as a lower bound while the node is still counting after its start."""
    return f"{count}+" if node.is_counting and count is not None else count
