"""The memory of replaced operations: a set that forgets, whose union has the laws of one."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.versions.hybrid_time import hybrid_time
from ringmill.cluster.versions.replaced import (
    ENTRY_BYTES,
    MOST,
    MOST_RETRIED,
    entry_of,
    forgets_since,
    is_well_formed,
    knows,
    remember,
    union,
)

HOUR_MS = 3_600_000
SESSION = 0xFEDC_BA98_7654_3210
BIRTH = hybrid_time(0, 7)
OPERATIONS = st.tuples(
    st.sampled_from([0, 1, 2, HOUR_MS, HOUR_MS + 2, 3 * HOUR_MS]), st.integers(0, 20), st.booleans()
)


def of(drawn: list[tuple[int, int, bool]]) -> bytes:
    return reduce(remember, [entry(*each) for each in drawn], b"")


def entry(ms: int, sequence: int, is_retry: bool = False) -> bytes:
    return entry_of(hybrid_time(ms), SESSION, sequence, BIRTH, is_retry=is_retry)


MEMORIES = st.lists(OPERATIONS, max_size=30).map(of)


@given(MEMORIES, MEMORIES, MEMORIES)
def test_a_union_is_commutative_associative_and_idempotent(a: bytes, b: bytes, c: bytes) -> None:
    assert union(a, b) == union(b, a)
    assert union(union(a, b), c) == union(a, union(b, c))
    assert union(a, a) == a
    assert union(union(a, b), b) == union(a, b)


@given(st.lists(OPERATIONS, max_size=30))
def test_what_is_remembered_one_by_one_is_the_union_of_the_entries(
    drawn: list[tuple[int, int, bool]],
) -> None:
    assert of(drawn) == reduce(union, [entry(*each) for each in drawn], b"")
    assert not drawn or is_well_formed(of(drawn))


def test_the_last_ones_are_known_and_the_older_ones_forgotten() -> None:
    memory = of([(number, number, False) for number in range(3 * MOST)])
    assert [knows(memory, SESSION, number, BIRTH) for number in range(3 * MOST)] == [False] * 2 * MOST + [
        True
    ] * MOST


def test_those_that_were_sent_twice_are_known_longer() -> None:
    twice = [(number, number, True) for number in range(MOST_RETRIED + 5)]
    once = [(number, number, False) for number in range(1000, 1000 + 3 * MOST)]
    memory = of([*twice, *once])
    assert len(memory) == (MOST + MOST_RETRIED) * ENTRY_BYTES
    assert not knows(memory, SESSION, 4, BIRTH) and knows(memory, SESSION, 5, BIRTH)


def test_what_was_forgotten_is_older_than_what_is_kept() -> None:
    def forgets(memory: bytes, ms: int) -> bool:
        return forgets_since(memory, hybrid_time(ms))

    few, many = (
        [(number, number, False) for number in range(1, 1 + count)] for count in (MOST - 1, 2 * MOST)
    )
    assert not forgets(b"", 0) and not forgets(of(few), 0)
    assert forgets(of(many), MOST) and not forgets(of(many), MOST + 1)
    twice = [(number, number, True) for number in range(1, 1 + 2 * MOST_RETRIED)]
    assert not forgets(of(twice[: -MOST_RETRIED - 1]), 0)
    assert forgets(of(twice), MOST_RETRIED) and not forgets(of(twice), MOST_RETRIED + 1)
    late = of([(HOUR_MS + 2, 3, False)])
    assert forgets(late, 1) and not forgets(late, 2)


def test_an_entry_is_newer_than_the_birth_of_its_operation_whatever_its_coordinators_clock_said() -> None:
    born = hybrid_time(100)
    skewed = entry_of(hybrid_time(1), SESSION, 0, born, is_retry=False)
    memory = reduce(remember, [entry(ms, ms) for ms in range(2, 2 + 2 * MOST)], skewed)
    assert knows(memory, SESSION, 0, born) and not forgets_since(memory, born)
    memory = reduce(remember, [entry(ms, ms) for ms in range(101, 101 + MOST)], memory)
    assert not knows(memory, SESSION, 0, born) and forgets_since(memory, born)
    last = (1 << 64) - 1
    assert entry_of(0, SESSION, 0, last, is_retry=False)[:8] == last.to_bytes(8, "big")


def test_after_an_hour_only_those_that_were_sent_twice_are_known() -> None:
    memory = of([(1, 1, False), (1, 2, True), (HOUR_MS + 2, 3, False)])
    assert [knows(memory, SESSION, number, BIRTH) for number in (1, 2, 3)] == [False, True, True]


def test_an_operation_is_told_from_one_whose_bytes_stand_across_two_entries() -> None:
    memory = of([(1, number, False) for number in range(MOST)])
    for at in range(1, len(memory) - 7):
        if at % ENTRY_BYTES != 8:
            session = int.from_bytes(memory[at : at + 7], "big")
            assert not knows(memory, session, 0, 0)
