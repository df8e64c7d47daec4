"""The laws of merge, over objects that replicas can really reach by writing and merging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import find, given, settings
from hypothesis import strategies as st

from ringmill.cluster.ids import NodeId, Start
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot, VersionVector, actor_of
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import (
    ABSENT,
    OperationId,
    Sibling,
    StoredObject,
    merge,
    merge_all,
    supersede,
)
from ringmill.cluster.versions.replaced import ENTRY_BYTES, MOST

REPLICAS = 3


@dataclass
class Replicas:
    """Three copies of one key, and every state any of them was ever in."""

    now: list[StoredObject] = field(default_factory=lambda: [ABSENT] * REPLICAS)
    past: list[StoredObject] = field(default_factory=lambda: [ABSENT])
    counters: list[int] = field(default_factory=lambda: [0] * REPLICAS)
    writes: int = 0

    def write(
        self,
        at: int,
        context: VersionVector,
        *,
        operation: int | None = None,
        delete: bool = False,
        is_retry: bool = False,
    ) -> Sibling:
        self.writes += 1
        self.counters[at] += 1
        number = self.writes if operation is None else operation
        sibling = Sibling(
            Dot(actor_of(NodeId(f"n{at}"), Start(1, "00" * 8)), self.counters[at]),
            None if delete else b"v%d" % self.writes,
            HybridTime(self.writes),
            OperationId(1, number, HybridTime(number)),
            is_retry=is_retry,
        )
        self._become(at, supersede(self.now[at], context, sibling))
        return sibling

    def refuses(self, at: int, context: VersionVector, operation: int) -> bool:
        """Whether the coordinator knows the operation (V4), or a context is newer than its own write."""
        present = self.now[at]
        known = present.find(OperationId(1, operation, HybridTime(operation)))
        if known is not None or present.has_replaced(OperationId(1, operation, HybridTime(operation))):
            return True
        copies = (one for one in _siblings(self.past) if one.operation.sequence == operation)
        return any(context.covers(copy.dot) for copy in copies)

    def exchange(self, source: int, target: int) -> None:
        self._become(target, merge(self.now[target], self.now[source]))

    def _become(self, at: int, state: StoredObject) -> None:
        self.now[at] = state
        self.past.append(state)


@st.composite
def histories(draw: st.DrawFn) -> Replicas:
    replicas = Replicas()
    index = st.integers(0, REPLICAS - 1)
    for _ in range(draw(st.integers(0, 12))):
        at = draw(index)
        if draw(st.booleans()):
            seen = draw(st.sampled_from(["present", "blind", "past"]))
            context = {
                "present": replicas.now[at].context,
                "blind": EMPTY_VECTOR,
                "past": draw(st.sampled_from(replicas.past)).context,
            }[seen]
            operation = draw(st.sampled_from([None, None, 100, 101]))
            if operation is not None and replicas.refuses(at, context, operation):
                continue
            is_retry = operation is not None and draw(st.booleans())
            replicas.write(at, context, operation=operation, delete=draw(st.booleans()), is_retry=is_retry)
        else:
            replicas.exchange(at, draw(index))
    return replicas


@st.composite
def three_states(draw: st.DrawFn) -> tuple[StoredObject, StoredObject, StoredObject]:
    past = st.sampled_from(draw(histories()).past)
    return draw(past), draw(past), draw(past)


@given(three_states())
def test_merge_is_commutative_associative_and_idempotent(
    states: tuple[StoredObject, StoredObject, StoredObject],
) -> None:
    a, b, c = states
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(merge(a, b), a) == merge(a, b)


@given(three_states())
def test_a_merge_is_encoded_to_the_same_bytes_in_any_order(
    states: tuple[StoredObject, StoredObject, StoredObject],
) -> None:
    a, b, c = states
    one, other = merge_all([a, b, c]), merge_all([c, a, b])
    assert encode_object(one) == encode_object(other)
    assert decode_object(encode_object(one)) == one


@given(histories(), st.data())
@settings(max_examples=60)
def test_a_write_is_lost_only_to_a_write_whose_context_covers_it_or_a_later_attempt_of_it(
    replicas: Replicas, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, REPLICAS - 1))
    before = merge_all(replicas.now)
    context = data.draw(st.sampled_from(replicas.past)).context
    mine = replicas.write(at, context)
    after = merge_all(replicas.now)
    assert mine in after.siblings
    replaced = {each.operation for each in before.siblings if context.covers(each.dot)}
    for sibling in before.siblings:
        is_gone = context.covers(sibling.dot) or sibling.operation in replaced
        assert (sibling in after.siblings) == (not is_gone)


@given(histories())
def test_everything_a_merge_has_lost_is_covered_and_its_birth_kept(replicas: Replicas) -> None:
    merged = merge_all(replicas.now)
    for state in replicas.past:
        for sibling in set(_siblings([state])) - set(merged.siblings):
            assert merged.context.covers(sibling.dot)
            assert merged.forgotten >= sibling.operation.birth


def test_the_drawn_histories_lose_siblings_that_carry_a_birth() -> None:
    """Else the law above would be about nothing."""

    def loses(replicas: Replicas) -> bool:
        kept = merge_all(replicas.now).siblings
        return any(sibling not in kept for sibling in _siblings(replicas.past))

    lossy = find(histories(), loses)
    assert merge_all(lossy.now).forgotten > 0


@given(histories())
def test_of_an_operation_that_was_replaced_in_one_copy_none_is_left(replicas: Replicas) -> None:
    merged = merge_all(replicas.now)
    for sibling in set(_siblings(replicas.past)) - set(merged.siblings):
        if merged.has_replaced(sibling.operation):
            assert merged.find(sibling.operation) is None
        else:
            assert len(merged.replaced) >= MOST * ENTRY_BYTES


def test_the_drawn_histories_have_a_copy_that_only_the_memory_takes_away() -> None:
    """Else the law above would be about nothing."""

    def takes_away(replicas: Replicas) -> bool:
        parts = [replicas.now[at]._replace(replaced=b"") for at in range(REPLICAS)]
        return merge_all(parts).siblings != merge_all(replicas.now).siblings

    find(histories(), takes_away, settings=settings(max_examples=5000))


def _siblings(states: list[StoredObject]) -> Iterator[Sibling]:
    for state in states:
        yield from state.siblings
