"""A node that is short of memory begins no task, and one that is nearly out of it ends one."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.overload.node_memory import HOLD_S, LOOK_S, NodeMemory, nothing_told
from ringmill.cluster.ports import MemoryLeft

MIB = 1 << 20
GIB = 1 << 30


class StoppedClock(SystemClock):
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Bench:
    """A machine of 8 GiB; its bound is 512 MiB."""

    told: list[MemoryLeft] = field(default_factory=lambda: [MemoryLeft(4 * GIB, 8 * GIB)])
    clock: StoppedClock = field(default_factory=StoppedClock)
    reads: int = 0

    def read(self) -> list[MemoryLeft]:
        self.reads += 1
        return self.told

    def at(self, left_mib: int, memory: NodeMemory, *, after_s: float = LOOK_S) -> tuple[bool, bool]:
        self.clock.now += after_s
        self.told = [MemoryLeft(left_mib * MIB, 8 * GIB)]
        return memory.is_short, memory.is_nearly_out


def test_below_a_bound_no_task_begins_and_below_half_of_it_one_ends() -> None:
    bench = Bench()
    memory = NodeMemory(bench.read, bench.clock)
    assert bench.at(4096, memory) == (False, False)
    assert bench.at(513, memory) == (False, False)
    assert memory.reason == ""
    assert bench.at(511, memory) == (True, False)
    assert memory.reason.startswith("its machine has 511 MiB of 8192 MiB of memory left; tasks begin again")
    assert "when 768 MiB have been left" in memory.reason
    assert bench.at(257, memory) == (True, False)
    assert bench.at(255, memory) == (True, True)
    assert bench.at(300, memory) == (True, False)


def test_what_is_given_back_for_a_moment_is_not_room() -> None:
    bench = Bench()
    memory = NodeMemory(bench.read, bench.clock)
    assert bench.at(500, memory) == (True, False)
    assert bench.at(760, memory, after_s=2 * HOLD_S) == (True, False)  # it was below half as much more
    assert bench.at(800, memory) == (True, False)
    assert bench.at(800, memory, after_s=HOLD_S - 2 * LOOK_S) == (True, False)
    assert bench.at(700, memory) == (True, False)  # from here on anew
    assert bench.at(800, memory, after_s=HOLD_S - LOOK_S) == (True, False)
    assert bench.at(800, memory) == (False, False)
    assert bench.at(600, memory) == (False, False)  # which is above the bound at which it is short


def test_of_machine_and_groups_the_one_that_is_nearest_its_bound_counts() -> None:
    bench = Bench()
    memory = NodeMemory(bench.read, bench.clock)
    bench.told = [
        MemoryLeft(1 * GIB, 8 * GIB),
        MemoryLeft(60 * MIB, 1 * GIB, "cgroup"),  # a sixteenth of a small group is 64 MiB
        MemoryLeft(3 * GIB, 4 * GIB, "cgroup"),
    ]
    assert memory.is_short
    assert memory.left == bench.told[1]
    assert memory.reason.startswith("its cgroup has 60 MiB of 1024 MiB")


def test_the_kernel_is_asked_now_and_then() -> None:
    bench = Bench()
    memory = NodeMemory(bench.read, bench.clock)
    assert not memory.is_short
    assert not memory.is_nearly_out
    assert memory.left is not None
    assert bench.reads == 1
    bench.clock.now += LOOK_S
    assert not memory.is_short
    assert bench.reads == 2


def test_where_nobody_tells_there_is_room() -> None:
    memory = NodeMemory(nothing_told, SystemClock())
    assert (memory.is_short, memory.is_nearly_out, memory.left, memory.reason) == (False, False, None, "")


def test_once_nobody_tells_any_more_there_is_room_and_no_attempt_is_refused_without_a_word_of_it() -> None:
    """The file is gone, or this process may open no other one for a moment."""
    bench = Bench()
    memory = NodeMemory(bench.read, bench.clock)
    assert bench.at(200, memory) == (True, True)
    bench.told = []
    bench.clock.now += LOOK_S
    assert (memory.is_short, memory.is_nearly_out, memory.reason) == (False, False, "")
    assert bench.at(200, memory) == (True, True)
