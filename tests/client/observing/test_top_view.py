"""Two looks at the metrics of a cluster: rates, percentiles and sums of what happened in between."""

from __future__ import annotations

from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.administration.top_view import top_view
from ringmill.client.cli.observing import top_table, top_verb
from ringmill.client.connection import AsyncClient
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import METER_BITS
from ringmill.cluster.wire.stubs.membership_pb2 import (
    MetricFamily,
    MetricHistogram,
    MetricSample,
    MetricsResponse,
)


def look(node: str, clock_s: float, gets_ms: list[int], failed: int = 0, hints: int = 0) -> NodeMetrics:
    """What a node tells that has answered gets in these times."""
    times = Histogram(METER_BITS)
    for each in gets_ms:
        times.record(each * 1_000_000)
    histogram = MetricHistogram(counts=times.filled, sum_ns=times.sum_ns, max_ns=times.max_ns)

    def counted(outcome: str, count: float) -> MetricSample:
        return MetricSample(labels={"verb": "get", "outcome": outcome}, value=count)

    return NodeMetrics.of(
        MetricsResponse(
            node=node,
            clock_s=clock_s,
            families=[
                MetricFamily(
                    name="request_duration_seconds",
                    samples=[MetricSample(labels={"verb": "get"}, histogram=histogram)],
                ),
                MetricFamily(
                    name="requests_total",
                    samples=[
                        counted("ok", len(gets_ms)), counted("unavailable", failed),
                        counted("not_found", 5 + clock_s), counted("conflict", 7 * clock_s),
                    ],
                ),
                MetricFamily(
                    name="tasks", samples=[MetricSample(labels={"state": "running"}, value=2)]
                ),
            ],
        )
    )  # fmt: skip


def status(*states: str) -> ClusterStatus:
    nodes = tuple(
        NodeStatus(f"n{at}", f"h:{at}", state, "up", 4, hints=3) for at, state in enumerate(states, 1)
    )
    return ClusterStatus("demo", 2, 3, "ok", (), "n1", Ranges(4, 0, 0), nodes)


def test_rates_and_percentiles_are_of_the_time_between_the_looks() -> None:
    earlier = {"n1": look("n1", 10, [500] * 1000), "n2": look("n2", 90, [])}
    now = {
        "n1": look("n1", 12, [500] * 1000 + [10] * 99 + [100], failed=4),
        "n2": look("n2", 92, [10] * 100),
    }
    view = top_view(status("up", "up"), earlier, now)
    n1, n2 = view.nodes
    assert n1.reads is not None and n1.reads.per_s == 50 and n1.errors_s == 2
    assert n1.reads.p50_ms is not None and 10 <= n1.reads.p50_ms <= 12.5
    assert view.reads.per_s == 100 and view.reads.p99_ms is not None and view.reads.p99_ms <= 12.5
    assert n2.writes is not None and n2.writes.p99_ms is None
    assert (view.hints, view.tasks, view.errors_s) == (6, 4, 2)


def test_a_node_that_has_started_again_counts_from_its_start() -> None:
    view = top_view(
        status("up"), {"n1": look("n1", 10, [5] * 100, failed=9)}, {"n1": look("n1", 11, [5] * 7, failed=1)}
    )
    (node,) = view.nodes
    assert node.reads is not None and node.reads.per_s == 7 and node.errors_s == 1


def test_a_node_without_two_looks_has_no_figures() -> None:
    view = top_view(status("up", "down"), {}, {"n1": look("n1", 10, [5])})
    assert [(node.id, node.reads) for node in view.nodes] == [("n1", None), ("n2", None)]
    assert view.reads.per_s == 0
    assert list(top_table.row(view.nodes[1]))[:5] == ["n2", "down", None, None, None]
    assert top_table.head(view).startswith("demo  ok  epoch 2  reads 0/s  writes 0/s")


async def test_a_node_that_missed_one_look_has_no_figures_at_the_next() -> None:
    """They would be of another time than those beside them."""
    n1, n2 = ([look(node, at, [500] * 10 * at) for at in range(1, 5)] for node in ("n1", "n2"))
    looks = [
        {"n1": n1[0], "n2": n2[0]},
        {"n1": n1[1]},
        {"n1": n1[2], "n2": n2[2]},
        {"n1": n1[3], "n2": n2[3]},
    ]
    asked: list[ClusterStatus] = []

    async def answer(told: Any) -> Any:
        return told

    def hot(*, status: ClusterStatus) -> Any:
        asked.append(status)
        return answer(None)

    db = SimpleNamespace(
        metrics=lambda: answer(looks.pop(0)), status=lambda: answer(status("up", "up")), hot=hot
    )
    async with aclosing(cast("Any", top_verb._views(cast("AsyncClient", db), 0.0))) as views:
        told = [(await anext(views)).nodes[1].reads for _ in range(3)]
    assert [each and each.per_s for each in told] == [None, None, 10]
    assert len(asked) == 3, "the members are not asked for their status again"
