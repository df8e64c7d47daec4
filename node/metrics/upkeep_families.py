"""Metrics of what keeps copies equal: hints, read repair, anti-entropy, healing, moves; and of jobs."""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.cluster.meters.family import Family, Sample, by_label, counter, gauge
from ringmill.node.assembly import Node

__all__ = ["job_families", "upkeep_families"]


def upkeep_families(node: Node) -> Iterator[Family]:
    yield from _hints(node)
    yield from _repair(node)
    yield from _moves(node)


def _hints(node: Node) -> Iterator[Family]:
    hints, delivery = node.replica.hints, node.repair.delivery
    waiting = {str(target): float(count) for target, count in hints.counts().items()}
    yield by_label(
        "gauge", "hints_waiting", "Writes kept for an owner that has not acked them", "target", waiting
    )
    waited = hints.waited_s()
    yield gauge(
        "hint_oldest_seconds",
        "How long the oldest hint that waits has waited; 0 when none does",
        max(waited.values(), default=0.0),
    )
    yield counter("hints_delivered_total", "Hints that their owner holds now", delivery.delivered)
    yield counter("hints_refused_total", "Hints that their owner refused for now", delivery.refused)
    yield counter(
        "hints_dropped_total", "Hints given up over a bound in bytes, number or time", hints.dropped
    )


def _repair(node: Node) -> Iterator[Family]:
    compared, repair = node.replica.comparisons, node.repair
    yield counter(
        "read_repairs_total", "Copies that reads found old and wrote to", node.requests.read_repairs
    )
    yield counter(
        "comparisons_total", "Comparisons of a partition that ended with equal copies", compared.equal
    )
    yield counter("comparisons_differing_total", "Comparisons that found a difference", compared.differing)
    objects = {"received": float(compared.pulled), "sent": float(compared.pushed)}
    yield by_label("counter", "repaired_objects_total", "Objects that comparing moved", "direction", objects)
    yield counter("repaired_bytes_total", "Bytes of objects that comparing moved", compared.moved_bytes)
    yield counter("comparison_bytes_total", "Bytes of all messages of comparing", compared.wire_bytes)
    passed_at, clock = repair.anti_entropy.passed_at, node.core.clock
    yield gauge(
        "comparison_pass_timestamp_seconds",
        "When that pair of copies was found equal that waits longest, or comparing began; since 1970",
        None if passed_at is None else clock.wall() - (clock.monotonic() - passed_at),
    )
    yield gauge(
        "comparison_every_seconds",
        "The time between two rounds of comparing; none if it compares only what may be missing",
        repair.anti_entropy.every_s or None,
    )
    yield gauge(
        "comparisons_waiting", "Pairs of partition and owner to be compared", len(repair.anti_entropy.waiting)
    )
    yield counter(
        "copy_sums_checked_total", "Copies whose sums were made anew and right", repair.sums.checked
    )
    yield counter("copy_sums_wrong_total", "Copies whose sums were made anew and wrong", repair.sums.wrong)
    refused = node.replica.watermarks
    yield counter(
        "stale_refused_total", "Versions refused as they were deleted and forgotten (purge)", refused.refused
    )
    yield gauge(
        "stale_refused_timestamp_seconds",
        "When the last of them was refused, since 1970; none since the start",
        refused.refused_at,
    )
    removal = repair.keyspaces
    yield gauge(
        "dropped_keyspace_copies",
        "Copies to be looked through for what dropped keyspaces have left",
        removal.waiting,
    )
    yield counter(
        "dropped_keyspace_keys_total", "Keys and hints of dropped keyspaces that were removed", removal.keys
    )
    yield counter(
        "dropped_keyspace_bytes_total",
        "Bytes of objects of dropped keyspaces that were removed",
        removal.size_bytes,
    )
    yield gauge("unfilled_partitions", "Partitions to be filled from other owners", repair.healing.unfilled)


def _moves(node: Node) -> Iterator[Family]:
    topology, own = node.membership.topology.current, node.core.node
    rows = () if topology is None else topology.rows
    joining = sum(row.joiner is not None and row.joiner.node == own for row in rows)
    planned = sum(any(seat.node == own and seat not in row.owners for seat in row.wanted) for row in rows)
    moves = {"under_way": float(joining), "planned": float(max(0, planned - joining))}
    yield by_label("gauge", "moves", "Partitions that move to this node", "state", moves)
    copies, size_bytes = node.moves.mover.filled_copies, node.moves.filling.moved_bytes
    yield counter("moved_partitions_total", "Copies of partitions filled for moves", copies)
    yield counter("moved_bytes_total", "Bytes filled for moves", size_bytes)


def job_families(node: Node) -> Iterator[Family]:
    worker = node.compute.worker
    yield gauge("jobs_open", "Jobs that this node coordinates", node.jobs.open_jobs)
    yield gauge("task_slots", "Task processes that this node offers", worker.slots)
    left = node.compute.memory.left
    yield gauge(
        "memory_left_bytes",
        "What is left of the memory of the machine or the node's cgroup, whichever is short sooner",
        None if left is None else left.left_bytes,
    )
    tasks = {"running": float(worker.running), "waiting": float(max(0, worker.waiting))}
    yield by_label("gauge", "tasks", "Attempts of tasks on this node", "state", tasks)
    samples = [
        Sample(count, {"stage": stage, "outcome": outcome})
        for (stage, outcome), count in sorted(worker.ended.items())
    ]
    yield Family(
        "task_attempts_total",
        "counter",
        "Attempts that ended on this node, by outcome: done, or the cause of failure",
        samples,
        ("stage", "outcome"),
    )
