"""What a lease's register says, and what its holder and a contender may conclude from their own clocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ringmill.cluster.consensus.lease import (
    LeaseRecord,
    LeaseWatch,
    decode_lease,
    encode_lease,
    held_until,
)
from ringmill.cluster.errors import InvalidArgument

counts = some.integers(0, 2**60)


@given(some.builds(LeaseRecord, some.text(), counts, counts, counts))
def test_a_record_comes_back_from_its_bytes(record: LeaseRecord) -> None:
    assert decode_lease(encode_lease(record)) == record


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"n1",
        b"[]",
        b"{}",
        b'{"holder":1,"term":1,"renewal":0,"duration_ms":1}',
        b'{"holder":"a","term":-1,"renewal":0,"duration_ms":1}',
        b'{"holder":"a","term":1.5,"renewal":0,"duration_ms":1}',
        b'{"holder":"a","term":1,"renewal":0,"duration_ms":1%s}' % (b"0" * 400),
        b"[" * 4_000,
        b'{"holder":"%s","term":1,"renewal":0,"duration_ms":1}' % (b"a" * 20_000),
    ],
    ids=lambda value: value[:60].decode(),
)
def test_a_register_that_is_not_a_lease_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument, match="is not a lease"):
        decode_lease(value)


def test_a_register_without_a_value_is_a_free_lease_of_no_term() -> None:
    assert decode_lease(None).is_free
    assert decode_lease(None).term == 0


@given(some.floats(0, 1e6), some.floats(0.5, 60), some.floats(0, 100), some.floats(0.75, 1.3))
def test_a_holder_gives_up_before_a_contender_takes_over(
    sent_at: float, duration_s: float, seen_after_s: float, speed: float
) -> None:
    """The contender's clock may run at 1.3 times the speed of the holder's and tell any time."""
    watch = LeaseWatch()
    seen_at = 12_345.0 + speed * seen_after_s
    watch.see(7, duration_s, seen_at)
    taken_after_s = seen_after_s + watch.left_s(seen_at) / speed
    assert held_until(sent_at, duration_s) - sent_at <= taken_after_s


def test_a_change_begins_a_new_wait_and_a_look_does_not() -> None:
    watch = LeaseWatch()
    watch.see(1, 6.0, 100.0)
    watch.see(1, 6.0, 104.0)
    assert watch.left_s(105.0) == 1.0
    watch.see(2, 6.0, 105.0)
    assert watch.left_s(105.0) == 6.0
    assert watch.left_s(111.5) == 0.0
