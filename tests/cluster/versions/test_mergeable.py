"""Counters, sets and maps: whatever the order of updates and merges, copies end equal and nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.ids import NodeId, Start
from ringmill.cluster.limits import MAX_TOTAL
from ringmill.cluster.versions.dots import Dot, VersionVector, actor_of
from ringmill.cluster.versions.entries import entry_bytes, entry_name
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.mergeable import (
    Add,
    PutElement,
    PutEntry,
    Remove,
    Update,
    after_update,
    count_of,
    elements_of,
    entries_of,
)
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import ABSENT, OperationId, Sibling, StoredObject, merge, newest_first

COPIES = 3


@dataclass
class Copies:
    """Three copies of one key."""

    now: list[StoredObject] = field(default_factory=lambda: [ABSENT] * COPIES)
    updates: int = 0

    def update(self, at: int, change: Update) -> None:
        self.updates += 1
        sibling = Sibling(
            Dot(actor_of(NodeId(f"n{at}"), Start(1, "00" * 8)), self.updates),
            None,
            HybridTime(self.updates),
            OperationId(1, self.updates, HybridTime(self.updates)),
        )
        self.now[at] = after_update(self.now[at], change, sibling)
        assert decode_object(encode_object(self.now[at])) == self.now[at]

    def exchange(self, source: int, target: int) -> None:
        self.now[target] = merge(self.now[target], self.now[source])

    def settle(self) -> StoredObject:
        for source in range(COPIES):
            for target in range(COPIES):
                self.exchange(source, target)
        self.exchange(COPIES - 1, 0)
        self.exchange(COPIES - 1, 1)
        assert self.now[0] == self.now[1] == self.now[2]
        return self.now[0]


def shown(stored: StoredObject) -> list[bytes]:
    return [each.value for each in newest_first(stored.siblings) if each.value is not None]


at = st.integers(0, COPIES - 1)
exchanges = st.tuples(st.just("exchange"), at, at)
names = st.sampled_from([b"a", b"b", b"c"])


@given(st.lists(st.one_of(st.tuples(st.just("add"), at, st.integers(-9, 9)), exchanges), max_size=60))
@settings(max_examples=300, deadline=None)
def test_a_count_is_the_sum_of_all_that_was_added(story: list[tuple[str, int, int]]) -> None:
    copies, total = Copies(), 0
    for kind, one, other in story:
        if kind == "add":
            copies.update(one, Add(other))
            total += other
        else:
            copies.exchange(one, other)
    assert count_of(shown(copies.settle())) == total


@given(
    st.lists(
        st.one_of(st.tuples(st.just("put"), at, names), st.tuples(st.just("remove"), at, names), exchanges),
        max_size=60,
    )
)
@settings(max_examples=300, deadline=None)
def test_an_element_stays_unless_who_removed_it_had_seen_it(
    story: list[tuple[str, int, bytes | int]],
) -> None:
    """The model: each addition has a number, each copy knows some and has removed some of those."""
    copies, additions = Copies(), dict[int, bytes]()
    known: list[set[int]] = [set() for _ in range(COPIES)]
    gone: list[set[int]] = [set() for _ in range(COPIES)]
    for kind, one, other in story:
        if kind == "exchange":
            assert isinstance(other, int)
            copies.exchange(one, other)
            known[other] |= known[one]
            gone[other] |= gone[one]
            continue
        assert isinstance(other, bytes)
        same = {number for number in known[one] if additions[number] == other}
        if kind == "put":
            copies.update(one, PutElement(other))
            additions[copies.updates] = other
            known[one].add(copies.updates)
        else:
            copies.update(one, Remove(other, bytes))
        gone[one] |= same
    left = set().union(*known) - set().union(*gone)
    assert elements_of(shown(copies.settle())) == {additions[number] for number in left}


@given(st.lists(st.one_of(st.tuples(st.sampled_from(["put", "remove"]), at, names), exchanges), max_size=60))
@settings(max_examples=200, deadline=None)
def test_copies_of_a_map_end_equal_and_show_the_newest_of_each_entry(
    story: list[tuple[str, int, bytes | int]],
) -> None:
    copies, last = Copies(), dict[bytes, bytes]()
    for kind, one, other in story:
        if kind == "exchange":
            assert isinstance(other, int)
            copies.exchange(one, other)
        elif kind == "put":
            assert isinstance(other, bytes)
            copies.update(one, PutEntry(other, b"%d" % copies.updates))
            last[other] = b"%d" % (copies.updates - 1)
        else:
            assert isinstance(other, bytes)
            copies.update(one, Remove(other, entry_name))
    found = entries_of(shown(copies.settle()))
    assert list(found) == sorted(found)
    for name, value in found.items():
        assert int(value) <= int(last[name])


def test_removals_leave_one_tombstone_at_most_on_a_copy() -> None:
    copies = Copies()
    for name in (b"a", b"b", b"c"):
        copies.update(0, PutElement(name))
        copies.update(0, Remove(name, bytes))
    assert [each.value for each in copies.now[0].siblings] == [None]


def written(at: int, value: bytes, number: int, time: int, expires_at_ms: int) -> StoredObject:
    """A copy of operation `number`, as an owner that knows nothing of the key applies it."""
    dot = Dot(actor_of(NodeId(f"n{at}"), Start(number, "00" * 8)), 1)
    sibling = Sibling(dot, value, HybridTime(time), OperationId(1, number, HybridTime(0)), expires_at_ms)
    return StoredObject(VersionVector.of([dot]), (sibling,))


FRESH = Sibling(
    Dot(actor_of(NodeId("n9"), Start(9, "00" * 8)), 1), None, HybridTime(9), OperationId(2, 1, HybridTime(0))
)


@pytest.mark.parametrize(
    ("value", "change"), [(b"x", PutElement(b"y")), (entry_bytes(b"x", b"1"), PutEntry(b"y", b"2"))]
)
def test_the_copy_of_an_expired_write_that_lives_longer_stays(value: bytes, change: Update) -> None:
    sent_twice = merge(written(0, value, 1, 5, 12_000), written(1, value, 1, 7, 62_000))
    assert len(sent_twice.siblings) == 2
    kept = after_update(sent_twice, change, FRESH, expiry_ms=53_000)
    assert value in shown(kept)
    gone = after_update(sent_twice, change, FRESH, expiry_ms=62_000)
    assert value not in shown(gone) and len(gone.siblings) == 1


writes = st.tuples(st.integers(0, 1), st.integers(1, 5), st.integers(1, 9), st.integers(0, 5))


@given(st.lists(writes, max_size=6), st.booleans(), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_an_update_changes_nothing_of_what_it_does_not_name(
    told: list[tuple[int, int, int, int]], is_map: bool, now_ms: int
) -> None:
    """Whatever copies of writes there are, and whichever of them have expired."""
    stored = ABSENT
    for at, number, time, expires_at_ms in told:
        name = b"ab"[number % 2 :][:1]
        value = entry_bytes(name, b"%d" % number) if is_map else name
        stored = merge(stored, written(at, value, number, time, expires_at_ms))
    policy, change = ("map", PutEntry(b"y", b"2")) if is_map else ("set", PutElement(b"y"))
    changed = after_update(stored, change, FRESH, now_ms)
    new = changed.shown(policy, now_ms)
    assert [one for one in new if one.dot != FRESH.dot] == [*stored.shown(policy, now_ms)]
    assert not any(one.is_expired(now_ms) for one in changed.visible())


def test_a_total_beyond_64_bits_is_refused() -> None:
    copies = Copies()
    copies.update(0, Add(MAX_TOTAL))
    with pytest.raises(InvalidArgument, match="beyond the limit"):
        copies.update(0, Add(1))
    copies.update(1, Add(MAX_TOTAL))  # of another actor
    assert count_of(shown(copies.settle())) == 2 * MAX_TOTAL


@pytest.mark.parametrize("value", [b"", b"x", b"1.5", b"--1", b"9" * 30])
def test_what_is_not_a_total_is_damage(value: bytes) -> None:
    with pytest.raises(CorruptData, match="not the total"):
        count_of([value])


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0", b"\0\5abc"])
def test_what_is_not_an_entry_is_damage(value: bytes) -> None:
    with pytest.raises(CorruptData, match="not an entry"):
        entries_of([value])
