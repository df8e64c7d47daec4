"""Writes with and without a context, and what a reader is shown."""

from __future__ import annotations

import msgpack
import pytest

from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.lone_value import lone_of
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import (
    ABSENT,
    OperationId,
    Sibling,
    StoredObject,
    merge,
    supersede,
)
from ringmill.cluster.versions.replaced import MOST

A, B, C = Actor("n1#1"), Actor("n2#1"), Actor("n3#1")


def sibling(
    actor: Actor, counter: int, value: bytes | None, *, operation: int = 0, expires: int = 0
) -> Sibling:
    name = OperationId(7, operation or counter, HybridTime(counter))
    return Sibling(Dot(actor, counter), value, HybridTime(counter), name, expires)


def test_two_writers_with_the_same_old_context_leave_two_siblings() -> None:
    old = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"old"))
    ours = supersede(old, old.context, sibling(A, 2, b"ours"))
    both = supersede(ours, old.context, sibling(A, 3, b"theirs"))
    assert [each.value for each in both.live(0)] == [b"theirs", b"ours"]


def test_a_write_with_the_merged_context_leaves_one() -> None:
    ours = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"ours"))
    theirs = supersede(ABSENT, EMPTY_VECTOR, sibling(B, 1, b"theirs"))
    both = merge(ours, theirs)
    one = supersede(both, both.context, sibling(A, 2, b"one", operation=9))
    assert [each.value for each in one.siblings] == [b"one"]
    assert merge(one, theirs) == one


@pytest.mark.parametrize("second", [2000, 0])
def test_of_two_copies_of_a_write_the_one_that_lives_longer_is_shown(second: int) -> None:
    """The later attempt, which was acknowledged, is shown for the whole of its ttl."""
    earlier = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v", operation=5, expires=1000))
    later = supersede(ABSENT, EMPTY_VECTOR, sibling(B, 1, b"v", operation=5, expires=second))
    both = merge(earlier, later)
    for shown in (both.live(1500), both.last(1500), both.shown("map", 1500)):
        assert [each.dot for each in shown] == [Dot(B, 1)]
    assert merge(later, earlier).visible() == both.visible()
    assert bool(both.live(2500)) is not bool(second)


def test_a_tombstone_beats_the_copy_that_missed_the_delete() -> None:
    stale = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v"))
    deleted = supersede(stale, stale.context, sibling(B, 1, None))
    assert merge(stale, deleted) == deleted
    assert merge(stale, deleted).live(0) == ()


def test_a_delete_beside_a_concurrent_put_shows_the_put() -> None:
    base = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v"))
    put = supersede(base, base.context, sibling(A, 2, b"new"))
    delete = supersede(base, base.context, sibling(B, 1, None, operation=8))
    assert [each.value for each in merge(put, delete).live(0)] == [b"new"]


def test_one_operation_written_by_two_coordinators_is_shown_once_and_kept_twice() -> None:
    here = supersede(ABSENT, EMPTY_VECTOR, sibling(B, 1, b"v", operation=5))
    there = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v", operation=5))
    both = merge(here, there)
    assert len(both.siblings) == 2
    assert [each.dot for each in both.visible()] == [Dot(A, 1)]
    found = both.find(OperationId(7, 5, HybridTime(1)))
    assert found is not None
    assert found.dot == Dot(A, 1)


def test_an_expired_value_is_stored_and_hashed_but_not_shown() -> None:
    stored = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v", expires=1000))
    assert stored.live(999) == stored.siblings
    assert stored.live(1000) == ()
    assert decode_object(encode_object(stored)) == stored


def test_a_dot_is_never_used_twice() -> None:
    stored = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 2, b"v"))
    with pytest.raises(AssertionError, match="used before"):
        supersede(stored, EMPTY_VECTOR, sibling(A, 2, b"w"))


def test_damaged_bytes_are_an_error_or_another_valid_object_never_a_crash() -> None:
    data = encode_object(supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"value")))
    for cut in range(len(data)):
        with pytest.raises((CorruptData, ProtocolMismatch)):
            decode_object(data[:cut])
    refused, others = 0, []
    for at in range(len(data)):
        for flip in (1, 0x80):
            damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            try:
                others.append(decode_object(damaged))
            except (CorruptData, ProtocolMismatch):
                refused += 1
    assert refused > len(data) // 2
    assert others and decode_object(data) not in others
    assert all(decode_object(encode_object(other)) == other for other in others)


@pytest.mark.parametrize(
    ("vector", "siblings", "why"),
    [
        ([["n1#1", 1], ["n1#1", 2]], [], "not sorted by actor"),
        ([["n1#1", 1]], [["n1#1", 2, b"v", 1, 1, 1, 1, 0, 0]], "does not cover"),
        ([["n1#1", 2]], [["n1#1", n, b"v", 1, 1, 1, 1, 0, 0] for n in (2, 1)], "not sorted by dot"),
        ([["n1#1", 1]], [["n1#1", 1, "text", 1, 1, 1, 1, 0, 0]], "type str"),
        ([["n1#1", -1]], [], "unsigned"),
        ([["n1#1", 1]], [["n1#1", 1, b"v", 1, 1, 1, 1, 0, 2]], "unknown sibling flags"),
        ([["n1", 1]], [], "not an actor"),
    ],
)
def test_bytes_that_break_an_invariant_are_refused(vector: object, siblings: object, why: str) -> None:
    with pytest.raises(CorruptData, match=why):
        decode_object(b"\x01" + msgpack.packb([0, vector, siblings]))


def test_a_copy_of_a_write_that_was_replaced_in_another_copy_is_dropped_whichever_came_first() -> None:
    first = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v", operation=5))
    again = supersede(ABSENT, EMPTY_VECTOR, sibling(B, 1, b"v", operation=5)._replace(is_retry=True))
    for seen, late in ((first, again), (again, first)):
        over = supersede(seen, seen.context, sibling(C, 2, b"w", operation=6))
        assert [each.value for each in merge(over, late).siblings] == [b"w"]
        assert merge(over, late) == merge(late, over)
        assert decode_object(encode_object(merge(over, late))) == merge(over, late)


def test_a_write_that_was_sent_twice_is_remembered_longer_than_others() -> None:
    first = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v", operation=5))
    again = supersede(ABSENT, EMPTY_VECTOR, sibling(B, 1, b"v", operation=5)._replace(is_retry=True))
    overwritten = [first, again]
    for counter in range(2, MOST + 12):
        overwritten = [
            supersede(each, each.context, sibling(C, counter, b"w", operation=counter + 5))
            for each in overwritten
        ]
    assert len(merge(overwritten[0], again).siblings) == 2  # nobody knows any more
    assert len(merge(overwritten[1], first).siblings) == 1


def split_siblings(number: int) -> tuple[StoredObject, StoredObject]:
    """One operation in two copies; beside the first one `number` newer siblings."""
    first = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"x", operation=99))
    for count in range(2, 2 + number):
        first = supersede(first, EMPTY_VECTOR, sibling(A, count, b"beside"))
    copy = sibling(B, 1, b"x")._replace(operation=first.siblings[0].operation, is_retry=True)
    return first, supersede(ABSENT, EMPTY_VECTOR, copy)


def test_two_copies_of_a_write_are_replaced_as_one_however_many_others_go_with_them() -> None:
    first, second = split_siblings(MOST)
    both = merge(first, second)
    assert len(both.visible()) == len(both.siblings) - 1 == MOST + 1
    one = supersede(both, first.context, sibling(C, 99, b"one"))
    assert [each.value for each in one.siblings] == [b"one"]
    assert merge(one, second) == one


def test_a_copy_is_dropped_that_one_side_remembers_though_both_together_forget_it() -> None:
    first, second = split_siblings(0)
    first = supersede(first, first.context, sibling(A, 2, b"y"))
    other = supersede(ABSENT, EMPTY_VECTOR, sibling(C, 1, b"z"))
    for count in range(3, 4 + MOST):
        other = supersede(other, other.context, sibling(C, count, b"z"))
    name = second.siblings[0].operation
    assert first.has_replaced(name) and not merge(first, other).has_replaced(name)
    for one, two in (
        (first, merge(second, other)),
        (merge(second, other), first),
        (merge(first, second), other),
    ):
        assert merge(one, two).find(name) is None


def test_a_write_that_has_another_s_session_and_sequence_but_not_its_birth_is_another_write() -> None:
    first = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"x", operation=5))
    present = supersede(first, first.context, sibling(A, 2, b"y", operation=5))
    beside = supersede(ABSENT, EMPTY_VECTOR, sibling(B, 1, b"beside"))
    assert {each.value for each in merge(present, beside).siblings} == {b"y", b"beside"}


def test_arrays_in_arrays_are_refused_however_deep_they_are() -> None:
    for depth in (10, 500, 1000):
        deep = b"\x91" * depth + b"\xc0"
        vector = b"\x91\x92" + deep + b"\x01"
        for body in (
            b"\x93\x00" + vector + b"\x91\x99" + deep + b"\x01\xc4\x00" + bytes(6),
            b"\x93\x00" + vector + b"\x90",
            b"\x93" + deep + b"\x90\x90",
            b"\x93\x00\x91\x92\xa3a#1" + deep + b"\x90",
        ):
            with pytest.raises(CorruptData):
                decode_object(b"\x01" + body)
        fields = b"\x99\xa3a#1\x01\xc4\x00" + bytes(6)
        assert lone_of(b"\x01\x93\x00" + vector + b"\x91" + fields) is None


def test_an_object_that_was_never_overwritten_is_encoded_without_a_memory() -> None:
    stored = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"v"))
    assert encode_object(stored)[0] == 1
    assert encode_object(supersede(stored, stored.context, sibling(A, 2, b"w")))[0] == 2


@pytest.mark.parametrize(
    ("version", "replaced", "why"),
    [
        (1, bytes(16), "4 fields in version 1"),
        (2, b"", "entries of 16 bytes"),
        (2, bytes(17), "entries of 16 bytes"),
        (2, bytes(15) + b"\x02", "entries of 16 bytes"),
        (2, bytes(16 * 73), "entries of 16 bytes"),
        (2, [1], "entries of 16 bytes"),
    ],
)
def test_an_invalid_memory_of_replaced_operations_is_refused(
    version: int, replaced: object, why: str
) -> None:
    body = [0, [["n1#1", 1]], [["n1#1", 1, b"v", 1, 1, 1, 1, 0, 0]], replaced]
    with pytest.raises(CorruptData, match=why):
        decode_object(bytes([version]) + msgpack.packb(body))


def test_a_vector_knows_what_it_covers() -> None:
    vector = VersionVector.of([(B, 2), (A, 1), (A, 3)])
    assert vector.entries == ((A, 3), (B, 2))
    assert vector.covers(Dot(A, 2))
    assert not vector.covers(Dot(B, 3))


def test_readers_are_shown_the_newest_sibling_first_and_equal_times_by_dot() -> None:
    def put(actor: Actor, counter: int, time: int) -> StoredObject:
        name = OperationId(int(time), counter, HybridTime(0))
        return supersede(ABSENT, EMPTY_VECTOR, Sibling(Dot(actor, counter), b"v", HybridTime(time), name))

    c = Actor("n3#1")
    merged = merge(merge(put(c, 1, 7), put(A, 1, 5)), put(B, 4, 7))
    assert [each.dot for each in merged.siblings] == [Dot(A, 1), Dot(B, 4), Dot(c, 1)]
    assert [each.dot for each in merged.live(0)] == [Dot(B, 4), Dot(c, 1), Dot(A, 1)]


def test_the_last_writer_is_the_newest_sibling_also_when_it_is_a_delete_or_has_expired() -> None:
    older = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 1, b"older"))
    newer = merge(older, supersede(ABSENT, EMPTY_VECTOR, sibling(B, 2, b"newer")))
    assert [each.value for each in newer.last(0)] == [b"newer"]
    deleted = merge(newer, supersede(ABSENT, EMPTY_VECTOR, sibling(C, 3, None)))
    assert deleted.last(0) == () and len(deleted.live(0)) == 2
    expired = merge(newer, supersede(ABSENT, EMPTY_VECTOR, sibling(C, 3, b"brief", expires=5)))
    assert [each.value for each in expired.last(4)] == [b"brief"]
    assert expired.last(6) == ()
    assert ABSENT.last(0) == ()


def test_a_write_that_has_seen_all_siblings_is_the_last_whatever_its_clock_says() -> None:
    """Causality comes before time."""
    seen = supersede(ABSENT, EMPTY_VECTOR, sibling(A, 9, b"of a fast clock"))
    later = supersede(seen, seen.context, sibling(B, 2, b"of a slow clock"))
    assert [each.value for each in merge(seen, later).last(0)] == [b"of a slow clock"]
