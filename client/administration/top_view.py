"""What a cluster does at present: rates and latencies between two looks at the metrics of its nodes.

Pure.  Percentiles are those of the difference of two histograms, so they are of what happened in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ringmill.client.administration.hot_view import HotKey, HotView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus, NodeStatus
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import DONE, METER_BITS

__all__ = ["RequestPace", "TopNode", "TopView", "grown", "top_view"]

READS: Final = ("get", "read_register", "scan")
WRITES: Final = ("put", "delete", "touch", "cas", "incr")
_FINE: Final = (DONE, "not_found", "conflict")  # who lost a compare-and-set was answered
_DURATION: Final = "request_duration_seconds"
_HOT_KEYS: Final = 5


@dataclass(frozen=True, slots=True)
class RequestPace:
    """Requests a second of one sort, and how long they took in milliseconds; None when there was none."""

    per_s: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class TopNode:
    """One member.  The figures are None when it did not answer both looks."""

    id: str
    state: str
    reads: RequestPace | None = None
    writes: RequestPace | None = None
    errors_s: float | None = None
    refused_s: float | None = None
    hints: int | None = None
    waiting: int | None = None  # units of requests at its gate
    moves: int | None = None
    tasks: int | None = None
    lag_p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class TopView:
    """`seconds` lie between the looks.  `hot_keys` are those with the most requests a second."""

    cluster: str
    epoch: int
    health: str
    reasons: tuple[str, ...]
    seconds: float
    reads: RequestPace
    writes: RequestPace
    errors_s: float
    refused_s: float
    hints: int
    moves: int
    jobs: int
    tasks: int
    nodes: tuple[TopNode, ...]
    hot_keys: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The view as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Looks:
    """Two looks at one node."""

    earlier: NodeMetrics
    now: NodeMetrics

    @property
    def seconds(self) -> float:
        return max(1e-3, self.now.clock_s - self.earlier.clock_s)

    def rate(self, name: str) -> float:
        return grown(self.earlier.total(name), self.now.total(name)) / self.seconds

    def times(self, name: str, verbs: tuple[str, ...] | None = None) -> Histogram:
        return self.now.times(name, verbs).since(self.earlier.times(name, verbs))

    def failed(self, verbs: tuple[str, ...]) -> float:
        """Requests a second that ended with an error."""
        return grown(_failures(self.earlier, verbs), _failures(self.now, verbs)) / self.seconds


def top_view(
    status: ClusterStatus,
    earlier: Mapping[str, NodeMetrics],
    now: Mapping[str, NodeMetrics],
    hot: HotView | None = None,
) -> TopView:
    """What happened between two looks, at least one of which each node has answered."""
    looks = {
        node: _Looks(earlier[node], metrics)
        for node, metrics in now.items()
        if node in earlier and metrics.clock_s > earlier[node].clock_s
    }
    nodes = tuple(_node(each, looks.get(each.id)) for each in status.nodes)
    return TopView(
        cluster=status.cluster,
        epoch=status.epoch,
        health=status.health,
        reasons=status.reasons,
        seconds=max((each.seconds for each in looks.values()), default=0.0),
        reads=_pace(looks.values(), READS),
        writes=_pace(looks.values(), WRITES),
        errors_s=sum(node.errors_s or 0.0 for node in nodes),
        refused_s=sum(node.refused_s or 0.0 for node in nodes),
        hints=status.hints,
        moves=sum(node.moves or 0 for node in nodes),
        jobs=int(sum(metrics.total("jobs_open") for metrics in now.values())),
        tasks=sum(node.tasks or 0 for node in nodes),
        nodes=nodes,
        hot_keys=() if hot is None else tuple(_hot(each) for each in hot.keys[:_HOT_KEYS]),
    )


def _node(status: NodeStatus, looks: _Looks | None) -> TopNode:
    if looks is None:
        return TopNode(status.id, status.state, hints=status.hints)
    now = looks.now
    lag = looks.times("event_loop_lag_seconds")
    return TopNode(
        id=status.id,
        state=status.state,
        reads=_pace([looks], READS),
        writes=_pace([looks], WRITES),
        errors_s=looks.failed(READS + WRITES),
        refused_s=looks.rate("overload_refusals_total"),
        hints=status.hints,
        waiting=int(now.total("work_units", state="waiting")),
        moves=int(now.total("moves")),
        tasks=int(now.total("tasks", state="running")),
        lag_p99_ms=lag.percentile_ns(0.99) / 1e6 if lag.count else None,
    )


def _pace(looks: Iterable[_Looks], verbs: tuple[str, ...]) -> RequestPace:
    together, per_s = Histogram(METER_BITS), 0.0
    for each in looks:
        times = each.times(_DURATION, verbs)
        together.add(times)
        per_s += times.count / each.seconds
    if not together.count:
        return RequestPace(0.0, None, None)
    return RequestPace(per_s, together.percentile_ns(0.5) / 1e6, together.percentile_ns(0.99) / 1e6)


def _failures(metrics: NodeMetrics, verbs: tuple[str, ...]) -> float:
    return sum(
        each.value
        for each in metrics.families.get("requests_total", ())
        if each.labels.get("verb") in verbs and each.labels.get("outcome") not in _FINE
    )


def grown(earlier: float, now: float) -> float:
    """By how much a node's count has grown: one that has started again counts from 0."""
    return now - earlier if now >= earlier else now


def _hot(key: HotKey) -> Mapping[str, Any]:
    document = key.to_dict()
    return {name: document[name] for name in ("keyspace", "key", "reads_s", "writes_s", "owners")}
