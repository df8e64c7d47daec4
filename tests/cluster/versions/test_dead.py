"""What may be forgotten at a watermark, and what is refused there."""

from __future__ import annotations

from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.dead import (
    all_dead,
    dead_from,
    fresh_part,
    is_dead,
    last_time,
    news,
    stale,
    without_stale,
)
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import LAST_TIME, HybridTime, hybrid_time
from ringmill.cluster.versions.objects import ABSENT, OperationId, Sibling, StoredObject, merge, supersede

A, B = Actor("a#1.0"), Actor("b#1.0")
T = hybrid_time(1000)


def sibling(actor: Actor, count: int, ms: int, value: bytes | None = None, expires: int = 0) -> Sibling:
    operation = OperationId(1, hash((actor, count)) & 0xFFFF, HybridTime(0))
    return Sibling(Dot(actor, count), value, hybrid_time(ms), operation, expires)


def alone(one: Sibling) -> StoredObject:
    return supersede(ABSENT, VersionVector(), one)


def test_a_delete_and_what_has_expired_are_dead_once_they_are_old() -> None:
    assert is_dead(sibling(A, 1, 900), T) and not is_dead(sibling(A, 1, 1001), T)
    assert not is_dead(sibling(A, 1, 900, b"v"), T)
    assert is_dead(sibling(A, 1, 900, b"v", expires=1000), T)
    assert not is_dead(sibling(A, 1, 900, b"v", expires=1001), T)


def test_an_object_stays_while_a_value_or_something_young_is_in_it() -> None:
    both = merge(alone(sibling(A, 1, 900)), alone(sibling(B, 1, 800, b"v")))
    assert not all_dead(both, T) and all_dead(alone(sibling(A, 1, 900)), T)


def test_a_delete_of_a_value_whose_clock_was_ahead_stays_until_that_time_has_passed() -> None:
    value = alone(sibling(A, 1, 5000, b"v"))
    deleted = supersede(value, value.context, sibling(B, 1, 900))
    assert last_time(deleted) >= hybrid_time(5000)
    assert not all_dead(deleted, T) and all_dead(deleted, hybrid_time(6000))


def test_from_which_watermark_on_an_object_may_be_forgotten() -> None:
    deleted, brief = alone(sibling(A, 1, 900)), alone(sibling(B, 1, 800, b"v", expires=1500))
    assert dead_from(deleted) == hybrid_time(900)
    for stored, least in ((brief, 1500), (merge(deleted, brief), 1500)):
        assert dead_from(stored) == hybrid_time(least)
        assert all_dead(stored, hybrid_time(least)) and not all_dead(stored, hybrid_time(least - 1))
    assert dead_from(merge(deleted, alone(sibling(B, 1, 800, b"v")))) is None


def test_what_expires_beyond_the_last_hybrid_time_is_never_forgotten() -> None:
    """A keyspace of a former release may have such a ttl, and so does what was written there."""
    for expires in (1 << 48, 1 << 60):
        lasting = alone(sibling(A, 1, 900, b"v", expires=expires))
        assert dead_from(lasting) is None and not all_dead(lasting, LAST_TIME)
    assert dead_from(alone(sibling(A, 1, 900, b"v", expires=(1 << 48) - 1))) == hybrid_time((1 << 48) - 1)


def test_what_is_neither_held_nor_covered_is_stale() -> None:
    value = alone(sibling(A, 1, 900, b"v"))
    deleted = supersede(value, value.context, sibling(B, 1, 950))
    assert stale(ABSENT, value, T) is value.siblings[0]
    assert stale(value, value, T) is None and stale(deleted, value, T) is None
    assert stale(ABSENT, alone(sibling(A, 1, 1001, b"v")), T) is None
    assert stale(ABSENT, deleted, T) is None and [one.dot for one in news(ABSENT, deleted, T)] == [Dot(B, 1)]


def test_beside_a_stale_version_the_others_are_taken_and_the_stale_one_is_not_called_replaced() -> None:
    old, new = alone(sibling(A, 3, 900, b"v")), alone(sibling(B, 1, 1001, b"w"))
    fresh = fresh_part(ABSENT, merge(old, new), T)
    assert fresh is not None and fresh.siblings == new.siblings
    assert not fresh.context.covers(Dot(A, 3)) and fresh.context.covers(Dot(A, 2))
    assert fresh_part(new, merge(old, new), T) is None, "there is no news in it"
    assert fresh_part(ABSENT, old, T) is None
    both = supersede(old, VersionVector(), sibling(A, 4, 1001, b"w"))
    assert fresh_part(ABSENT, both, T) is None, "no vector names the later one alone"


def test_of_what_survived_only_that_stays_which_others_know() -> None:
    value, young = alone(sibling(A, 1, 900, b"v")), alone(sibling(B, 1, 1001, b"w"))
    assert without_stale(value, ABSENT, T).siblings == ()
    assert without_stale(value, value, T) is value
    assert without_stale(merge(value, young), ABSENT, T).siblings == young.siblings
