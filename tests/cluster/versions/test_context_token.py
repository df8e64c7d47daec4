"""A context token works for the key it was read from and nowhere else."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Actor, KeyspaceId
from ringmill.cluster.limits import MAX_CONTEXT_BYTES
from ringmill.cluster.versions.context_token import (
    BLIND,
    NO_SECRET,
    ContextSeal,
    ContextToken,
    blind_token,
    joined,
)
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.cluster.versions.seen import Needed, may_be_cut

HOME = KeyspaceId(1, 0)
SEEN = ContextToken(VersionVector(((Actor("n1#1"), 5), (Actor("n2#4"), 9))), HybridTime(77))


def test_a_token_gives_back_what_was_seen() -> None:
    assert NO_SECRET.open(NO_SECRET.token(SEEN, HOME, b"k"), HOME, b"k") == SEEN


@pytest.mark.parametrize(
    ("keyspace", "key"), [(HOME, b"other"), (KeyspaceId(2, 0), b"k"), (KeyspaceId(1, 1), b"k")]
)
def test_a_token_is_refused_for_another_key_or_keyspace(keyspace: KeyspaceId, key: bytes) -> None:
    with pytest.raises(InvalidArgument, match="read from another key"):
        NO_SECRET.open(NO_SECRET.token(SEEN, HOME, b"k"), keyspace, key)


def test_every_damaged_or_cut_token_is_refused() -> None:
    token = NO_SECRET.token(SEEN, HOME, b"k")
    for at in range(len(token)):
        with pytest.raises(InvalidArgument):
            NO_SECRET.open(token[:at], HOME, b"k")
        with pytest.raises(InvalidArgument):
            NO_SECRET.open(token[:at] + bytes([token[at] ^ 0x10]) + token[at + 1 :], HOME, b"k")


def test_a_dot_is_shown_as_actor_and_count() -> None:
    assert str(Dot(Actor("n1#1"), 5)) == "n1#1:5"


SEAL = ContextSeal("secret")
ELSEWHERE = ContextToken(VersionVector(((Actor("n3#1"), 2),)), HybridTime(50))


def test_only_who_knows_the_secret_makes_a_token() -> None:
    assert SEAL.open(SEAL.token(SEEN, HOME, b"k"), HOME, b"k") == SEEN
    for other in (NO_SECRET, ContextSeal("secrets")):
        with pytest.raises(InvalidArgument, match="given out by no node of this cluster"):
            SEAL.open(other.token(SEEN, HOME, b"k"), HOME, b"k")


def test_while_the_secret_is_rotated_tokens_of_either_are_opened() -> None:
    former, seal = ContextSeal("secret"), ContextSeal("secret")
    old = former.token(SEEN, HOME, b"k")
    seal.change("secret\nnext other")
    assert seal.token(SEEN, HOME, b"k") == old, "all nodes can open what is handed out"
    seal.change("other\nformer secret")
    new = seal.token(SEEN, HOME, b"k")
    assert new != old
    assert seal.open(old, HOME, b"k") == seal.open(new, HOME, b"k") == SEEN
    seal.change("other")
    assert seal.open(new, HOME, b"k") == SEEN
    with pytest.raises(InvalidArgument, match="before its token was changed"):
        seal.open(old, HOME, b"k")


def test_everybody_can_make_a_token_that_covers_nothing() -> None:
    assert SEAL.open(blind_token(HOME, b"k"), HOME, b"k") == BLIND


def test_a_client_joins_tokens_without_a_seal_of_its_own() -> None:
    one, other = SEAL.token(SEEN, HOME, b"k"), SEAL.token(ELSEWHERE, HOME, b"k")
    both, covered = joined(one, other)
    assert covered == ContextToken(SEEN.vector.join(ELSEWHERE.vector), SEEN.time)
    assert SEAL.open(both, HOME, b"k") == covered
    assert joined(both, other)[1] == joined(other, both)[1] == covered
    later = ContextToken(covered.vector, HybridTime(80))
    assert joined(both, SEAL.token(later, HOME, b"k")) == (SEAL.token(later, HOME, b"k"), later)


def test_a_joined_token_is_refused_for_one_part_that_is_forged_or_of_another_key() -> None:
    one, forged = SEAL.token(SEEN, HOME, b"k"), NO_SECRET.token(ELSEWHERE, HOME, b"k")
    with pytest.raises(InvalidArgument, match="given out by no node of this cluster"):
        SEAL.open(joined(one, forged)[0], HOME, b"k")
    with pytest.raises(InvalidArgument, match="read from another key"):
        joined(one, SEAL.token(ELSEWHERE, HOME, b"other"))
    with pytest.raises(InvalidArgument, match="read from another key"):
        SEAL.open(joined(one, SEAL.token(ELSEWHERE, HOME, b"k"))[0], HOME, b"other")


def test_every_damaged_joined_token_is_refused() -> None:
    both, _ = joined(SEAL.token(SEEN, HOME, b"k"), SEAL.token(ELSEWHERE, HOME, b"k"))
    for at in range(len(both)):
        with pytest.raises(InvalidArgument):
            SEAL.open(both[:at] + bytes([both[at] ^ 0x10]) + both[at + 1 :], HOME, b"k")


def starts(count: int, *, node: str = "storage-eu-west-07") -> ContextToken:
    """What is seen of a key that each of these starts has written twice."""
    actors = [Actor(f"{node}#{number}.{number:010x}") for number in range(1, count + 1)]
    return ContextToken(VersionVector.of((actor, 2) for actor in actors), HybridTime(77))


def written(actor: Actor) -> Sibling:
    return Sibling(Dot(actor, 2), b"v", HybridTime(77), OperationId(1, 1, HybridTime(0)))


def test_a_token_of_very_many_starts_names_the_siblings_writers_and_the_newest_of_each_node() -> None:
    seen, other = starts(5_000), starts(3, node="n2")
    vector = seen.vector.join(other.vector)
    sibling = written(Actor(f"storage-eu-west-07#7.{7:010x}"))
    token = NO_SECRET.token(seen._replace(vector=vector), HOME, b"k", [sibling])
    told = NO_SECRET.open(token, HOME, b"k")
    assert vector.covers_all(told.vector)
    assert told.vector.covers(sibling.dot)
    assert all(told.vector.counter(actor) == 2 for actor, _ in other.vector.entries)
    assert told.vector.counter(Actor(f"storage-eu-west-07#5000.{5000:010x}")) == 2
    assert told.time == seen.time
    assert len(told.vector.entries) <= 501
    assert len(token) < MAX_CONTEXT_BYTES / 3, "three of them have room in a session's"


def test_a_token_has_room_for_the_writers_of_as_many_siblings_as_a_set_may_have() -> None:
    seen = starts(3_001)
    siblings = [written(actor) for actor, _ in seen.vector.entries[:1_000]]
    told = NO_SECRET.open(NO_SECRET.token(seen, HOME, b"k", siblings), HOME, b"k")
    assert all(told.vector.covers(sibling.dot) for sibling in siblings)


def test_a_token_never_becomes_one_that_is_refused() -> None:
    seen = starts(4_000, node="n" * 63)
    siblings = [written(actor) for actor, _ in seen.vector.entries]
    assert NO_SECRET.open(NO_SECRET.token(seen, HOME, b"k", siblings), HOME, b"k").vector.entries


def test_up_to_five_hundred_starts_are_all_named() -> None:
    assert NO_SECRET.open(NO_SECRET.token(starts(500), HOME, b"k"), HOME, b"k") == starts(500)


def test_of_more_siblings_than_have_room_those_that_were_written_last_are_named() -> None:
    """A start's number says nothing of its time: that of a new member is low."""
    seen, new = starts(4_000, node="n" * 63), Actor("n9#1.9f31c0aa52")
    siblings = [
        written(new)._replace(time=HybridTime(99)),
        *(written(actor) for actor, _ in seen.vector.entries),
    ]
    context = seen._replace(vector=seen.vector.with_dot(Dot(new, 2)))
    for told in (siblings, siblings[::-1]):
        token = NO_SECRET.token(context, HOME, b"k", told)
        assert NO_SECRET.open(token, HOME, b"k").vector.covers(Dot(new, 2))


def test_the_starts_of_the_present_owners_are_named_before_those_of_former_nodes() -> None:
    vector = starts(9, node="n9").vector
    for number in range(100, 700):
        vector = vector.join(starts(2, node=f"n{number}").vector)
    token = NO_SECRET.token(ContextToken(vector, HybridTime(77)), HOME, b"k", owners=["n9"])
    told = NO_SECRET.open(token, HOME, b"k").vector
    assert told.counter(Actor(f"n9#9.{9:010x}")) == 2
    assert len(told.entries) == 500


def test_a_token_that_leaves_starts_out_names_as_many_as_one_that_names_all() -> None:
    """A coordinator knows by that which tokens may be such (node/requests/write.py)."""
    vector = starts(600).vector.join(starts(3, node="n2").vector)
    told = NO_SECRET.open(NO_SECRET.token(ContextToken(vector, HybridTime(77)), HOME, b"k"), HOME, b"k")
    assert may_be_cut(told)
    assert not may_be_cut(starts(499))


def test_what_all_have_forgotten_is_not_waited_for() -> None:
    told = ContextToken(starts(500).vector.with_dot(Dot(Actor("n2#1"), 3)), HybridTime(77))
    needed, held = Needed(told, told.vector), starts(500).vector.with_dot(Dot(Actor("n2#1"), 2))
    present = StoredObject(held, ())
    assert needed.known_with(present) is None
    left = needed.without_forgotten(held)
    assert left.exact.vector == held
    assert left.known_with(present) == ContextToken(held, told.time)
