"""Sums of a copy are a function of what it holds, whatever happened to it before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.node.replica.comparing.copy_sums import (
    GROUP_LEAVES,
    GROUPS,
    LEAVES,
    SUM_BYTES,
    CopySums,
    leaf_of,
)
from ringmill.node.replica.stored_key import Copy, copy_prefix

COPY = Copy(PartitionId(3), Epoch(1))
LATER = Copy(PartitionId(3), Epoch(2))
PREFIX = copy_prefix(COPY)

keys = st.binary(min_size=1, max_size=3)
objects = st.binary(min_size=1, max_size=4)


def whole() -> CopySums:
    sums = CopySums()
    sums.begin()
    sums.end()
    return sums


def root(sums: CopySums, copy: Copy = COPY) -> bytes:
    known = sums.of(copy)
    assert known is not None
    return known.root


def sums_of(held: dict[bytes, bytes], copy: Copy = COPY) -> CopySums:
    sums = whole()
    for key, encoded in held.items():
        sums.change(copy_prefix(copy) + key, None, encoded)
    return sums


@given(st.lists(st.tuples(keys, objects)))
def test_what_was_overwritten_leaves_no_trace(changes: list[tuple[bytes, bytes]]) -> None:
    sums, held = whole(), dict[bytes, bytes]()
    for key, encoded in changes:
        sums.change(PREFIX + key, held.get(key), encoded)
        held[key] = encoded
    assert root(sums) == root(sums_of(held))
    assert root(sums) == root(
        sums_of(held, LATER), LATER
    )  # two owners may have got their copies by two moves


@given(st.dictionaries(keys, objects), st.dictionaries(keys, objects))
def test_different_copies_have_different_sums(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    assert (root(sums_of(one)) == root(sums_of(other))) == (one == other)


@given(st.dictionaries(keys, objects, min_size=1), objects)
def test_a_difference_shows_in_its_leaf_and_its_group(held: dict[bytes, bytes], new: bytes) -> None:
    key = next(iter(held))
    was, sums = sums_of(held).of(COPY), sums_of({**held, key: new + held[key]}).of(COPY)
    assert was is not None and sums is not None
    groups = bytes(range(GROUPS))
    leaves = _unequal(was.of_leaves(groups), sums.of_leaves(groups), LEAVES)
    assert leaves == [leaf_of(key)]
    assert _unequal(was.of_groups(), sums.of_groups(), GROUPS) == [leaf_of(key) // GROUP_LEAVES]


def test_changes_during_a_pass_are_in_its_sums() -> None:
    sums = CopySums()
    assert sums.of(COPY) is None
    sums.change(PREFIX + b"before", None, b"is found by the scan")
    sums.begin()
    sums.change(PREFIX + b"old", b"1", b"2")
    sums.change(PREFIX + b"new", None, b"3")
    sums.add(PREFIX + b"before", b"is found by the scan")
    assert sums.of(COPY) is None
    sums.add(PREFIX + b"old", b"1")
    sums.end()
    held = {b"before": b"is found by the scan", b"old": b"2", b"new": b"3"}
    assert root(sums) == root(sums_of(held))


def test_a_copy_that_is_forgotten_is_not_known_until_a_later_pass_has_ended() -> None:
    sums = sums_of({b"x": b"1"})
    other = copy_prefix(LATER)
    sums.change(other + b"y", None, b"2")
    sums.begin()
    sums.forget(PREFIX + b"where the damage begins")
    sums.end()
    assert sums.of(COPY) is None and sums.of(LATER) is not None
    sums.begin()
    sums.add(PREFIX + b"x", b"what came by healing")
    sums.add(other + b"y", b"2")  # known already, and not added twice
    sums.end()
    assert root(sums) == root(sums_of({b"x": b"what came by healing"}))
    assert root(sums, LATER) == root(sums_of({b"y": b"2"}))


def _unequal(one: bytes, other: bytes, sums: int) -> list[int]:
    assert len(one) == len(other) == sums * SUM_BYTES
    return [
        n
        for n in range(sums)
        if one[n * SUM_BYTES : (n + 1) * SUM_BYTES] != other[n * SUM_BYTES : (n + 1) * SUM_BYTES]
    ]
