"""Records as bytes of an output format: how many of them are in memory, and what cannot be written."""

from __future__ import annotations

import tracemalloc

import pytest

from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.rendering import rendered


@pytest.mark.parametrize("format", ["jsonl", "records"])
def test_large_records_are_not_gathered_before_they_are_written(format: str) -> None:
    pairs = ((f"k{number}", [f"{number:05}" * 1000] * 8) for number in range(500))  # 40 kB each as text
    types = TypedRecords(str, list[str], "here") if format == "records" else None
    tracemalloc.start()
    try:
        written = sum(records for records, _ in rendered(pairs, format, "reduce", "here", types))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written == 500
    assert peak < 7 << 20, "500 of them take 20 MB"


def test_a_value_that_is_nested_too_deeply_for_json_is_the_fault_of_its_maker() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TaskFailed, match="cannot be written as JSON") as failed:
        list(rendered([("k", deep)], "jsonl", "reduce", "here"))
    assert failed.value.cause is Cause.USER_ERROR
