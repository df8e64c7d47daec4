"""Checks on a cluster, each a pure function of what its nodes have told.

A remedy is a command where there is one.  Those that begin with `ringmill` are shown as this user has to type
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.doctor.cluster_facts import ClusterFacts
from ringmill.client.doctor.finding import Finding, bad, unwell, warn, well

__all__ = ["CLUSTER_CHECKS", "check_cluster"]

CLOCK_WARNS_S: Final = 0.25
CLOCK_WRONG_S: Final = 0.5  # so far ahead, a node that stepped coordinates no writes (rule V6)
HINTS_LONG_S: Final = 3600.0
STALE_LATELY_S: Final = 3600.0
COMPARED_LONG_S: Final = 3600.0
LEAST_FREE_BYTES: Final = 1 << 30
WAITING_TABLES: Final = 8  # from here on writes are slowed down
_STATUS: Final = "ringmill cluster status"
_UNTOLD: Final = f"look again, with a token of the role read if one is required: {_STATUS}"


def check_cluster(facts: ClusterFacts, now_s: float) -> Iterator[Finding]:
    """All checks.  `now_s` is the wall clock, since 1970."""
    for check in CLUSTER_CHECKS:
        found = check(facts)
        yield _with_untold(found, facts) if check in _BY_FIGURES else found
    yield _with_untold(compared(facts, now_s), facts)
    yield _with_untold(came_again(facts, now_s), facts)


def _with_untold(found: Finding, facts: ClusterFacts) -> Finding:
    """The finding of a check that goes by figures, with the members that answer and tell none.

    Nothing is well of these.  Members that do not answer are named by `nodes`.
    """
    untold = [node.id for node in facts.status.nodes if node.uptime_s is not None]
    untold = [node for node in untold if node not in facts.metrics]
    if not untold:
        return found
    why = facts.refused.get("metrics", "")
    complaint = f"no figures of {', '.join(untold)}{f': {why}' if why else ''}"
    if found.verdict != "ok":
        return replace(found, told=f"{found.told}; {complaint}")
    if not facts.metrics:
        return warn(found.check, complaint, _UNTOLD)
    return warn(found.check, f"{complaint}; of the others: {found.told}", _UNTOLD)


def nodes(facts: ClusterFacts) -> Finding:
    """Every member answers and is up."""
    members = facts.status.nodes
    away = [node for node in members if node.state in {"down", "suspect"} or node.uptime_s is None]
    slow = [f"{node.id} is slow" for node in members if node.state == "slow"]
    if away:
        names = " ".join(node.id for node in away)
        return unwell(
            "nodes",
            "wrong",
            [f"{node.id} ({node.address}) is {node.state}" for node in away] + slow,
            f"ringmill cluster restart {names}"
            if facts.is_local
            else "look into its log, and start it with what had started it",
            "",
        )
    return unwell("nodes", "warning", slow, _STATUS, f"{len(members)} nodes answer and are up")


def epochs(facts: ClusterFacts) -> Finding:
    """All nodes know the same topology."""
    behind = [
        f"{node.id} is at epoch {node.epoch}, others at {facts.status.epoch}"
        for node in facts.status.nodes
        if node.epoch is not None and node.epoch != facts.status.epoch
    ]
    return unwell(
        "epoch",
        "warning",
        behind,
        "look again in a few seconds; if it lasts, the node's log says whom it cannot reach",
        f"all nodes are at epoch {facts.status.epoch}",
    )


def versions(facts: ClusterFacts) -> Finding:
    """All nodes, and this client, run the same release, and the same code of it."""
    by_node = {node: _info(metrics, "build", "version") for node, metrics in facts.metrics.items()}
    found = [
        f"{node} runs {version}, this client {facts.version}"
        for node, version in sorted(by_node.items())
        if version != facts.version
    ]
    codes = {node: _info(metrics, "build", "code") for node, metrics in facts.metrics.items()}
    found += [
        f"{node} runs other code of {facts.version} ({code or 'untold'}) than this machine has ({facts.code})"
        for node, code in sorted(codes.items())
        if by_node[node] == facts.version and facts.code not in ("", code)
    ]
    pythons = {_info(metrics, "build", "python") for metrics in facts.metrics.values()}
    return unwell(
        "versions",
        "warning",
        found,
        "ringmill cluster restart --rolling, once the release is installed everywhere"
        if facts.is_local
        else "restart the nodes one after another, once the release is installed everywhere",
        f"all nodes run {facts.version} on Python {', '.join(sorted(pythons))}",
    )


def partitions(facts: ClusterFacts) -> Finding:
    """Every partition has its quorum, and all its owners."""
    ranges = facts.status.ranges
    if ranges.no_quorum:
        return bad(
            "partitions", f"{ranges.no_quorum} partitions have no quorum", "start the nodes that are down"
        )
    if ranges.under_replicated:
        return warn(
            "partitions",
            f"{ranges.under_replicated} partitions lack an owner but have their quorum",
            "start the nodes that are down, or `ringmill cluster replace` one that is lost",
        )
    return well("partitions", f"{ranges.ok} partitions are complete")


def clocks(facts: ClusterFacts) -> Finding:
    """The clocks of the nodes agree."""
    apart = {
        node: metrics.total("clock_offset_seconds")
        for node, metrics in sorted(facts.metrics.items())
        if metrics.families.get("clock_offset_seconds")
    }
    far = {node: offset for node, offset in apart.items() if abs(offset) >= CLOCK_WARNS_S}
    is_wrong = any(abs(offset) >= CLOCK_WRONG_S for offset in far.values())
    most = max((abs(offset) for offset in apart.values()), default=0.0)
    return unwell(
        "clocks",
        "wrong" if is_wrong else "warning",
        [f"{node} is {offset:+.2f} s from the median" for node, offset in far.items()],
        "set the clock of that host by NTP, such as `chronyc makestep`",
        f"clocks are within {most * 1000:.0f} ms of the median" if apart else "not compared yet",
    )


def disks(facts: ClusterFacts) -> Finding:
    """There is room on the disks: for a gibibyte, and for the data once more, as compactions need."""
    full, tight = [], []
    for node, metrics in sorted(facts.metrics.items()):
        if not metrics.families.get("disk_free_bytes"):  # the system cannot tell
            continue
        free = metrics.total("disk_free_bytes")
        held = sum(metrics.by_label("tables_bytes", "level").values()) + metrics.total("memtable_bytes")
        if free < LEAST_FREE_BYTES:
            full.append(f"{node} has {_size(free)} left")
        elif free < held:
            tight.append(f"{node} has {_size(free)} left, and its data takes {_size(held)}")
    remedy = "free some space, or add nodes: ringmill cluster add"
    if full:
        return unwell("disks", "wrong", full + tight, remedy, "")
    known = [metrics for metrics in facts.metrics.values() if metrics.families.get("disk_free_bytes")]
    least = min((metrics.total("disk_free_bytes") for metrics in known), default=0.0)
    return unwell("disks", "warning", tight, remedy, f"{_size(least)} or more are free on each node")


def stores(facts: ClusterFacts) -> Finding:
    """The stores take writes, and nothing in them is damaged."""
    figures = sorted(facts.metrics.items())
    ended = [node for node, metrics in figures if metrics.total("store_failed")]
    closed = [
        f"{node} takes no writes"
        for node, metrics in figures
        if metrics.total("read_only") and node not in ended
    ]
    failed = [f"{node.id}: {node.engine_failure}" for node in facts.status.nodes if node.engine_failure]
    if ended or closed or failed:
        names = " ".join(ended)
        restart = f"ringmill cluster restart {names}" if facts.is_local else f"restart {names}"
        remedies = [f"when the disk is sound, {restart}" if ended else ""]
        remedies += [f"{_STATUS} has the reason; free some space" if closed or failed else ""]
        lost = [
            f"the log of {node} failed, and it takes no writes until it is started again" for node in ended
        ]
        return unwell("stores", "wrong", lost + closed + failed, "; ".join(filter(None, remedies)), "")
    damaged = [
        f"{node.damaged_ranges} key ranges of {node.id} are damaged"
        for node in facts.status.nodes
        if node.damaged_ranges
    ]
    return unwell(
        "stores",
        "warning",
        damaged,
        "start the other owners, from which they are healed; ringmill repair status",
        "no store is damaged, and all take writes",
    )


def compaction(facts: ClusterFacts) -> Finding:
    """Compaction keeps up with the writes."""
    behind = [
        f"{metrics.total('compaction_waiting_tables'):.0f} tables of {node} wait"
        for node, metrics in sorted(facts.metrics.items())
        if metrics.total("compaction_waiting_tables") >= WAITING_TABLES
    ]
    return unwell(
        "compaction",
        "warning",
        behind,
        "writes are slowed down: send fewer, or add nodes: ringmill cluster add",
        "compaction keeps up",
    )


def hints(facts: ClusterFacts) -> Finding:
    """No hint waits for long."""
    waited = {node: metrics.total("hint_oldest_seconds") for node, metrics in sorted(facts.metrics.items())}
    long = [
        f"hints on {node} have waited for {seconds / 60:.0f} minutes"
        for node, seconds in waited.items()
        if seconds > HINTS_LONG_S
    ]
    awaited = " ".join(node.id for node in facts.status.nodes if node.awaited_hints)
    return unwell(
        "hints",
        "warning",
        long,
        f"bring back {awaited or 'the owner'}; after --hint-age no more are kept for it",
        f"{facts.status.hints} hints wait, none for an hour",
    )


def moves(facts: ClusterFacts) -> Finding:
    """Partitions that move go on moving."""
    view = facts.moves
    if view is None:
        return warn("moves", f"nobody told: {facts.refused.get('moves', '')}")
    reasons = [f"partition {at}: {why}" for at, why in sorted(view.held_back.items())]
    if view.is_paused and not view.is_over:
        reasons.append("moves are paused")
    remedy = "ringmill cluster moves --resume" if view.is_paused else "ringmill cluster moves"
    return unwell(
        "moves", "warning", reasons, remedy, f"{view.left} moves are left" if view.left else "nothing moves"
    )


def jobs(facts: ClusterFacts) -> Finding:
    """Open jobs have a coordinator."""
    coordinator = facts.coordinator
    if coordinator is None:
        return warn("jobs", f"not asked: {facts.refused.get('jobs', '')}")
    if coordinator.open_jobs and not coordinator.node:
        return bad(
            "jobs",
            f"{len(coordinator.open_jobs)} jobs are open, and no node coordinates them",
            "a node that can run tasks takes them within seconds: ringmill coordinator status",
        )
    return well(
        "jobs", f"{len(coordinator.open_jobs)} jobs are open" if coordinator.open_jobs else "no job is open"
    )


def containment(facts: ClusterFacts) -> Finding:
    """Jobs are contained, and do not run as root."""
    weak = [
        f"tasks on {node.id} are contained by: {node.containment}"
        for node in facts.status.nodes
        if "ROOT" in node.containment or node.containment.startswith(("off", "rlimits only"))
    ]
    levels = {node.containment for node in facts.status.nodes if node.containment}
    return unwell(
        "containment",
        "warning",
        weak,
        "run nodes as a user of their own, without --containment off, on a kernel that can contain tasks",
        f"tasks are contained by {', '.join(sorted(levels)) or 'nothing that was told'}",
    )


def pressure(facts: ClusterFacts) -> Finding:
    """No node has more to do than it can, and no event loop has stood still."""
    busy = [
        f"{node} leaves things off (step {metrics.total('overload_step'):.0f} of 5)"
        for node, metrics in sorted(facts.metrics.items())
        if metrics.total("overload_step")
    ]
    return unwell(
        "overload", "warning", busy, "ringmill top; ringmill cluster status --hot", "no node is overloaded"
    )


def access(facts: ClusterFacts) -> Finding:
    """A cluster that speaks TLS asks clients for a token: one without has to be refused."""
    if facts.has_tls and not facts.has_token and facts.metrics:
        return bad(
            "access",
            "the nodes speak TLS, and let in clients without a token",
            "start the nodes with --token-file",
        )
    if not facts.has_tls:
        return well("access", "without TLS nodes listen on loopback only")
    if facts.has_token:
        return well("access", "the nodes speak TLS, and this client shows a token")
    if "metrics" not in facts.refused:
        return warn("access", "no node has said whether it asks for a token", _UNTOLD)
    return well("access", "the nodes speak TLS and ask for a token")


def rotation(facts: ClusterFacts) -> Finding:
    """Nodes accept one secret: what a former one opens is shut by the last step of its rotation (F9)."""
    two = [node for node, metrics in sorted(facts.metrics.items()) if metrics.total("accepted_secrets") > 1]
    return unwell(
        "secret",
        "warning",
        [f"{', '.join(two)} accept two secrets: a rotation is not finished"] if two else [],
        "`ringmill auth rotate-secret` goes on with it, `ringmill auth rotate-secret --finish` ends it",
        "no node accepts a second secret",
    )


CLUSTER_CHECKS: Final[Sequence[Callable[[ClusterFacts], Finding]]] = (
    nodes, epochs, versions, partitions, clocks, disks, stores, compaction, hints, moves, jobs,
    containment, pressure, access, rotation,
)  # fmt: skip


_BY_FIGURES: Final = (versions, clocks, disks, stores, compaction, hints, pressure, rotation)
"""Checks of what nodes have counted."""


def compared(facts: ClusterFacts, now_s: float) -> Finding:
    """Owners have compared their copies lately."""
    every = {node: metrics.total("comparison_every_seconds") for node, metrics in facts.metrics.items()}
    passed = {
        node: now_s - metrics.total("comparison_pass_timestamp_seconds")
        for node, metrics in sorted(facts.metrics.items())
        if metrics.families.get("comparison_pass_timestamp_seconds")
    }
    wrong = [
        f"{node} had wrong sums of {metrics.total('copy_sums_wrong_total'):.0f} copies"
        for node, metrics in sorted(facts.metrics.items())
        if metrics.total("copy_sums_wrong_total")
    ]
    late = [
        f"{node} has not compared all its copies for {ago_s / 60:.0f} minutes"
        for node, ago_s in passed.items()
        if ago_s > max(COMPARED_LONG_S, 3 * every[node])
    ]
    return unwell(
        "comparing",
        "warning",
        wrong + late,
        "ringmill repair status",
        f"owners have compared their copies within {_span(max(passed.values()))}"
        if passed
        else "no node compares by the clock, or has yet",
    )


def came_again(facts: ClusterFacts, now_s: float) -> Finding:
    """No version came again lately that was deleted and forgotten (rule P3).

    A message that was late by more than --purge-after is harmless.  Where it goes on, two owners differ.
    """
    ago_s = {
        node: now_s - metrics.total("stale_refused_timestamp_seconds")
        for node, metrics in sorted(facts.metrics.items())
        if metrics.families.get("stale_refused_timestamp_seconds")
    }
    return unwell(
        "deletes",
        "warning",
        [
            f"{node} has refused {facts.metrics[node].total('stale_refused_total'):.0f} versions that were "
            f"deleted and forgotten, the last one {seconds / 60:.0f} minutes ago"
            for node, seconds in ago_s.items()
            if seconds <= STALE_LATELY_S
        ],
        "one late message does no harm; if it goes on, its log names the partition (purge.refused), and "
        "two of its owners differ: ringmill repair status",
        "nothing that was deleted and forgotten came again within the hour",
    )


def _span(seconds: float) -> str:
    return "the hour" if seconds <= COMPARED_LONG_S else f"{seconds / 60:.0f} minutes, as they are told to"


def _info(metrics: NodeMetrics, name: str, label: str) -> str:
    return next((each.labels.get(label, "") for each in metrics.families.get(name, ())), "")


def _size(size_bytes: float) -> str:
    gib = size_bytes / (1 << 30)
    return f"{gib:,.1f} GiB" if gib >= 1 else f"{size_bytes / (1 << 20):,.0f} MiB"
