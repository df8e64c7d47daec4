"""A node says what is left of its memory, and that it begins no tasks while that is little."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.overload.node_memory import NodeMemory, nothing_told
from ringmill.cluster.ports import MemoryLeft
from ringmill.node.compute.room import Compute
from ringmill.node.metrics.upkeep_families import job_families


def compute(left: MemoryLeft | None) -> Compute:
    worker = SimpleNamespace(slots=1, running=0, waiting=0, ended=Counter[tuple[str, str]]())
    memory = NodeMemory(nothing_told if left is None else lambda: [left], SystemClock())
    return Compute(bundles=cast("Any", None), worker=cast("Any", worker), memory=memory)


def told(left: MemoryLeft | None) -> list[float]:
    node = SimpleNamespace(compute=compute(left), jobs=SimpleNamespace(open_jobs=0))
    [family] = [each for each in job_families(cast("Any", node)) if each.name == "memory_left_bytes"]
    return [cast("float", sample.value) for sample in family.samples]


def test_what_is_left_is_a_metric() -> None:
    assert told(MemoryLeft(700 << 20, 8 << 30)) == [700 << 20]
    assert told(None) == [], "nobody tells, or the node has no slots"


def test_a_node_that_begins_no_tasks_for_want_of_memory_complains() -> None:
    complaint = compute(MemoryLeft(20 << 20, 1 << 30, "cgroup")).complaint
    assert complaint.startswith("begins no tasks: its cgroup has 20 MiB of 1024 MiB of memory left; ")
    assert compute(MemoryLeft(70 << 20, 1 << 30, "cgroup")).complaint == ""
