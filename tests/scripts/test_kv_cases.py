"""Rounds that add up, and where an open loop has its knee."""

from __future__ import annotations

from typing import Any

from ringmill.cluster.meters.histogram import Histogram
from stores.cases import Case, Result, batch_cases, beside_singles, knees

SECONDS = 100.0


def round_of(per_s: float, latency_ms: float = 1.0, nodes_us: float = 100.0) -> dict[str, Any]:
    """One round in which every operation took the same time."""
    latency, count = Histogram(), int(per_s * SECONDS)
    for _ in range(1_000):
        latency.record(int(latency_ms * 1e6))
    return {
        "operations": count,
        "seconds": SECONDS,
        "errors": {},
        "missing": 0,
        "client_s": count * 10e-6,
        "nodes_s": count * nodes_us * 1e-6,
        "latency": latency.to_dict(),
        "lateness": Histogram().to_dict(),
        "frames": count // 4,
        "operations_sent": count,
    }


def open_case(rate_per_s: float) -> Case:
    return Case("put", "uniform", 100, 256, "synced", rate_per_s)


def told(*points: tuple[float, float, float]) -> str:
    """The knee of (asked, done, p99 in ms)."""
    results = {
        (open_case(asked), "ringmill"): Result([round_of(done, p99_ms)]) for asked, done, p99_ms in points
    }
    (text,) = knees(results, ["ringmill"])
    return text.removeprefix("knee of ringmill, put: ")


def test_rounds_are_reported_by_their_median_and_their_range() -> None:
    result = Result([round_of(100, nodes_us=300), round_of(300, nodes_us=100), round_of(200, nodes_us=900)])
    figures = result.figures()
    assert (figures["least"], figures["per_s"], figures["most"]) == (100, 200, 300)
    assert round(figures["nodes_us"]) == 300
    assert figures["ops_per_frame"] == 4


def test_the_knee_is_the_last_rate_that_was_kept() -> None:
    text = told((100, 100, 2.0), (400, 400, 3.0), (1_600, 1_000, 4.0))
    assert text == "400/s, p99 3 ms; 1,000 of 1,600/s were done"


def test_latency_that_shoots_up_is_a_knee_too() -> None:
    assert told((100, 100, 2.0), (400, 400, 11.0)) == "100/s, p99 2 ms; at 400/s p99 is 11 ms"


def test_chance_is_not_a_knee() -> None:
    assert told((100, 96, 2.0), (400, 392, 2.0)) == "not reached at 400/s, p99 2 ms"


def test_a_store_that_keeps_no_rate_has_its_knee_below() -> None:
    assert told((100, 20, 2.0), (400, 20, 2.0)) == "below the lowest rate; 20 of 100/s were done"


def test_closed_loops_and_single_rates_have_no_knee() -> None:
    results = {(open_case(0), "ringmill"): Result([round_of(100)])}
    assert knees(results, ["ringmill"]) == []
    results = {(open_case(50), "ringmill"): Result([round_of(50)])}
    assert knees(results, ["ringmill"]) == []


def test_a_case_is_named_by_what_is_unusual() -> None:
    assert Case("put", "uniform", 100, 64, "synced").name == "put"
    assert Case("a", "zipf", 1024, 64, "buffered").name == "a, buffered, zipf, 1024 B"
    assert Case("d", "zipf", 100, 64, "synced").name == "d, latest"


def test_frames_of_nodes_are_told_where_they_were_counted() -> None:
    counted = [
        {**round_of(100), "node_frames": [10, 40, 5, 50]},
        {**round_of(100), "node_frames": [10, 60, 5, 0]},
    ]
    figures = Result(counted).figures()
    assert (figures["calls_per_peer_frame"], figures["answers_per_frame"]) == (5, 5)
    assert "calls_per_peer_frame" not in Result([round_of(100)]).figures()


def test_batches_are_cases_beside_single_requests_that_can_be_sent_in_batches() -> None:
    singles = [Case(name, "uniform", 100, count, "synced") for name in ("put", "a") for count in (1, 64)]
    cases = batch_cases([*singles, open_case(500)], [100])
    assert [case.name for case in cases] == ["put, mput of 100", "put, pipeline of 100", "put, gather of 100"]
    assert {case.in_flight for case in cases} == {100} and batch_cases(singles, []) == []


def test_a_batch_is_reported_beside_one_single_request_after_the_other() -> None:
    single = Case("put", "uniform", 100, 1, "synced")
    batch = batch_cases([single], [100])[0]
    results = {(single, "ringmill"): Result([round_of(100)]), (batch, "ringmill"): Result([round_of(700)])}
    assert beside_singles(results, batch, "ringmill") == {"x_single": 7}
    assert beside_singles(results, single, "ringmill") == {}
    assert beside_singles(results, batch, "etcd") == {}
