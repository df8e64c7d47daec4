"""Stamps of fresh writes, and what times met in data may do to them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.versions.hybrid_time import (
    MOST_JUMPS,
    HybridClock,
    HybridTime,
    hybrid_time,
    millis,
)


@dataclass
class SteeredClock:
    """A clock whose wall and monotonic readings a test moves by hand, in seconds."""

    wall_s: float = 1_000_000.0
    mono_s: float = 50.0

    def wall(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.mono_s

    def boottime(self) -> float:
        return self.mono_s

    def pass_time(self, seconds: float) -> None:
        self.wall_s += seconds
        self.mono_s += seconds


def test_stamps_of_one_node_always_rise() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    stamps = [hybrid.stamp() for _ in range(70_000)]  # more than one millisecond's logical counts
    clock.wall_s -= 0.4
    stamps.append(hybrid.stamp())
    assert stamps == sorted(set(stamps))
    assert millis(stamps[0]) == 1_000_000_000
    assert stamps[1] == hybrid_time(1_000_000_000, 1)


def test_a_stamp_lies_above_its_context() -> None:
    clock = SteeredClock()
    seen = hybrid_time(1_000_000_400, 7)
    assert HybridClock(clock).stamp(above=seen) == seen + 1


def test_a_context_from_a_clock_far_ahead_does_not_drag_the_stamp_along() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    assert millis(hybrid.stamp(above=hybrid_time(2_000_000_000))) == 1_000_000_500


def test_a_time_met_in_data_raises_the_own_clock_by_at_most_500_ms() -> None:
    hybrid = HybridClock(SteeredClock())
    for _ in range(5):
        hybrid.observe(hybrid_time(9_000_000_000))
    assert millis(hybrid.now()) == 1_000_000_500
    hybrid.observe(HybridTime(1))
    assert millis(hybrid.now()) == 1_000_000_500


@pytest.mark.parametrize("jump_s", [-3.0, 0.6, 86_400.0])
def test_after_a_jump_of_the_wall_clock_nothing_is_stamped_until_it_is_back(jump_s: float) -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    clock.wall_s += jump_s
    for _ in range(2):
        with pytest.raises(Unavailable, match="jumped by") as refused:
            hybrid.stamp()
        assert refused.value.outcome == "failed"
    clock.wall_s -= jump_s
    hybrid.stamp()


def test_a_clock_that_is_steered_slowly_keeps_stamping() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    stamps = []
    for _ in range(100):
        clock.pass_time(10)
        clock.wall_s += 0.05
        stamps.append(hybrid.stamp())
    assert millis(stamps[-1]) - millis(stamps[0]) == 99 * 10_050


def test_what_the_own_clock_said_before_the_clocks_were_compared_binds_expiry_to_nothing() -> None:
    year_s = 365 * 86_400
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    clock.wall_s += year_s
    assert hybrid.expiry_ms() == (1_000_000 + year_s) * 1000
    clock.wall_s -= year_s
    assert hybrid.expiry_ms() == (1_000_000 + year_s) * 1000  # nobody else has told the time
    hybrid.expiry_follows(hybrid.offset_ms)
    assert hybrid.expiry_ms() == 1_000_000_000
    hybrid.expiry_follows(hybrid.offset_ms - 2000)
    assert hybrid.expiry_ms() == 1_000_000_000  # from here on it never goes back
    clock.pass_time(3)
    assert hybrid.expiry_ms() == 1_000_001_000


def test_what_cannot_be_undone_goes_by_the_earliest_clock_until_there_is_a_median() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    assert hybrid.shared_expiry_ms() == 0
    hybrid.removals_follow(hybrid.offset_ms - 2000)
    clock.wall_s += 3600
    clock.pass_time(1)
    assert hybrid.shared_expiry_ms() == 999_999_000
    hybrid.expiry_follows(hybrid.offset_ms)
    assert hybrid.shared_expiry_ms() == hybrid.expiry_ms() == 1_003_601_000


def test_the_shared_time_does_not_step_with_the_own_clock_once_the_clocks_were_compared() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    clock.wall_s += 3600
    assert hybrid.shared_s() == clock.wall_s, "nobody else has told the time"
    hybrid.expiry_follows(hybrid.offset_ms - 3_600_000)
    assert hybrid.shared_s() == 1_000_000
    clock.wall_s += 50
    clock.pass_time(3)
    assert hybrid.shared_s() == 1_000_003


def test_a_clock_tells_how_far_it_was_set_forwards_lately() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    clock.wall_s -= 3600
    hybrid.accept_jump()
    clock.pass_time(5)
    assert hybrid.went_ahead_s(60) == 0
    clock.wall_s += 3600
    assert hybrid.went_ahead_s(60) == 0, "nobody has accepted it yet"
    hybrid.accept_jump()
    clock.pass_time(7)
    clock.wall_s += 2
    hybrid.accept_jump()
    assert hybrid.went_ahead_s(7.5) == pytest.approx(3602)
    assert hybrid.went_ahead_s(6.5) == pytest.approx(2)


def test_a_clock_that_is_set_forwards_again_and_again_remembers_all_of_it_in_little() -> None:
    clock = SteeredClock()
    hybrid = HybridClock(clock)
    for _ in range(3 * MOST_JUMPS):
        clock.pass_time(1)
        clock.wall_s += 2
        hybrid.accept_jump()
    assert hybrid.went_ahead_s(1e9) == pytest.approx(6 * MOST_JUMPS)
    assert hybrid.went_ahead_s(9.5) == pytest.approx(20)
    assert len(hybrid._ahead) == MOST_JUMPS
