"""What the live page shows, as JSON values.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ringmill.client.administration.hot_view import HotView
from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.status import ClusterStatus
from ringmill.client.administration.top_view import TopView
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.slot_rows import slot_rows
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.ring.topology import Topology

__all__ = ["job_view", "live_view", "ring_picture"]

MOST_HOT: Final = 12
MOST_JOBS: Final = 20
_OF_NODE: Final = (
    "id", "address", "state", "membership", "zone", "owns", "keys", "bytes", "hints", "awaited_hints",
    "uptime_s", "healing", "damaged_ranges", "unfilled", "tombstones", "containment", "epoch",
)  # fmt: skip


def ring_picture(topology: Topology) -> dict[str, Any]:
    """Who owns each partition: a row a partition, of places in `nodes`, and who is to join it."""
    nodes = [member.id for member in topology.members]
    at = {node: index for index, node in enumerate(nodes)}
    return {
        "epoch": topology.epoch,
        "partitions": topology.partitions,
        "nodes": nodes,
        "rows": [[at[node] for node in row.whole if node in at] for row in topology.rows],
        "joining": {
            index: [at[node] for node in row.nodes if node not in row.whole and node in at]
            for index, row in enumerate(topology.rows)
            if row.is_joint
        },
    }


def live_view(
    at_s: float,
    seen: ClusterStatus,
    hot: HotView | None,
    moves: MovesView | None,
    jobs: Sequence[JobState] | None,
    pace: TopView | None,
) -> dict[str, Any]:
    """The cluster at one moment.  What could not be asked is null, as `jobs` without the role for them."""
    document = seen.to_dict()
    work = {} if hot is None else hot.work_by_node
    nodes = [
        {**{name: getattr(node, name) for name in _OF_NODE}, "work_s": work.get(node.id)}
        for node in seen.nodes
    ]
    requests_s = None if hot is None else hot.requests_s
    if pace is not None:
        requests_s = pace.reads.per_s + pace.writes.per_s
    return {
        **{
            name: document[name]
            for name in ("cluster", "epoch", "health", "reasons", "coordinator", "ranges")
        },
        "at_s": at_s,
        "nodes": nodes,
        "requests_s": requests_s,
        "pace": None if pace is None else {"reads": asdict(pace.reads), "writes": asdict(pace.writes)},
        "hot": None if hot is None else [each.to_dict() for each in hot.keys[:MOST_HOT]],
        "moves": None if moves is None else _moves(moves),
        "jobs": None if jobs is None else [_job(each) for each in jobs[:MOST_JOBS]],
    }


def job_view(state: JobState, attempts: Sequence[AttemptSummary]) -> dict[str, Any]:
    """A job with a row for each slot of a node, and the attempts that ran there."""
    rows = [
        {"node": row.node, "slot": row.slot, "attempts": [_attempt(each) for each in row.attempts]}
        for row in slot_rows(attempts)
    ]
    return {**_job(state), "events": list(state.events), "rows": rows}


def _moves(moves: MovesView) -> dict[str, Any]:
    return {
        "left": moves.left,
        "joint": moves.joint,
        "is_paused": moves.is_paused,
        "joining": list(moves.joining),
        "leaving": dict(moves.leaving),
        "moved_bytes": moves.moved_bytes,
    }


def _job(state: JobState) -> dict[str, Any]:
    document = state.to_dict()
    named = (
        "job", "name", "state", "node", "of_journal", "output", "seconds", "submitted_at", "retried",
        "records", "left", "error",
    )  # fmt: skip
    return {
        **{name: document[name] for name in named},
        "stages": [asdict(each) for each in state.present_stages],
    }


def _attempt(attempt: AttemptSummary) -> dict[str, Any]:
    return {
        "name": attempt.name,
        "stage": attempt.stage,
        "state": attempt.state,
        "counts": attempt.counts,
        "is_backup": attempt.is_backup,
        "began_s": attempt.began_s,
        "ended_s": attempt.ended_s,
        "bytes_in": attempt.bytes_in,
        "bytes_done": attempt.bytes_done,
        "records_out": attempt.records_out,
        "error": attempt.error,
    }
