"""Objects that are stored or replaced without being decoded: the outcome is that of decoding and merging."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.node.replica import object_store
from ringmill.node.replica.object_batch import ObjectBatch
from ringmill.node.replica.object_store import Intent, ObjectStore
from tests.node.forgetful_engine import ForgetfulEngine
from tests.node.replica.test_object_store import PLACE, admit_all, store_on

OWN = Actor("n1#1.0000000000")
ACTORS = (OWN, Actor("n2#1.bb"))


@st.composite
def objects(draw: st.DrawFn) -> StoredObject:
    """One sibling of another node's, a value or a tombstone, under a context that may cover more."""
    dot = Dot(ACTORS[1], draw(st.integers(1, 3)))
    name = OperationId(1, draw(st.integers(1, 2)), HybridTime(draw(st.integers(0, 2))))
    sibling = Sibling(dot, draw(st.sampled_from([b"", b"v", None])), HybridTime(dot.counter), name)
    context = VersionVector.of([dot, *draw(st.sampled_from([[], [(Actor("n3#1.cc"), 2)]]))])
    return StoredObject(context, (sibling,), HybridTime(draw(st.integers(0, 2))))


def held(store: ObjectStore, engine: ForgetfulEngine) -> tuple[bytes | None, int, int]:
    return engine.get_nowait(PLACE.stored_key), store.keys, store.size_bytes


def one_after_the_other(steps: list[StoredObject | Intent]) -> tuple[object, ...]:
    """What is there at the end, and which writes were refused as replaced."""
    engine = ForgetfulEngine()
    store, refused = store_on(engine), list[int]()
    for number, step in enumerate(steps):
        batch = ObjectBatch()
        try:
            if isinstance(step, Intent):
                store.write_into(batch, PLACE, step, admit_all)
            else:
                store.apply_into(batch, PLACE, encode_object(step))
        except DeadlineExceeded:
            refused.append(number)
        store.commit(batch)
    return *held(store, engine), refused


STEPS = st.lists(st.one_of(objects(), st.integers(1, 3)), min_size=1, max_size=6)


@given(STEPS)
def test_what_is_not_decoded_is_stored_as_if_it_were(drawn: list[StoredObject | int]) -> None:
    steps = [
        Intent(b"w%d" % step, OperationId(9, step, HybridTime(step))) if isinstance(step, int) else step
        for step in drawn
    ]
    with pytest.MonkeyPatch.context() as patch:
        short = one_after_the_other(steps)
        patch.setattr(object_store, "lone_of", lambda data: None)
        assert short == one_after_the_other(steps)


def forged(count: int) -> StoredObject:
    """A value over a write of this start that nobody has made."""
    sibling = Sibling(Dot(ACTORS[1], 1), b"v", HybridTime(1), OperationId(1, 1, HybridTime(0)))
    return StoredObject(VersionVector(((OWN, count), (ACTORS[1], 1))), (sibling,))


async def test_a_value_that_names_a_write_nobody_has_made_is_not_stored() -> None:
    engine = ForgetfulEngine()
    store = store_on(engine)
    with pytest.raises(ProtocolMismatch, match="has not made"):
        store.apply_into(ObjectBatch(), PLACE, encode_object(forged(1)))
    await store.write(PLACE, Intent(b"w", OperationId(9, 1, HybridTime(0))), admit_all)
    before = held(store, engine)
    with pytest.raises(ProtocolMismatch, match="has not made"):
        store.apply_into(ObjectBatch(), PLACE, encode_object(forged(2)))
    assert held(store, engine) == before


async def test_a_write_over_such_a_value_is_refused() -> None:
    engine = ForgetfulEngine()
    other = store_on(engine, actor=2)
    batch = ObjectBatch()
    other.apply_into(batch, PLACE, encode_object(forged(1)))
    other.commit(batch)
    store = store_on(engine)
    with pytest.raises(InvalidArgument, match="has not made"):
        store.write_into(ObjectBatch(), PLACE, Intent(b"w", OperationId(9, 1, HybridTime(0))), admit_all)


async def test_a_write_that_was_taken_before_is_not_taken_again() -> None:
    engine = ForgetfulEngine()
    store, intent = store_on(engine), Intent(b"w", OperationId(9, 1, HybridTime(0)))
    first = ObjectBatch()
    once = store.write_into(first, PLACE, intent, admit_all)
    store.commit(first)
    again = store.write_into(ObjectBatch(), PLACE, intent, admit_all)
    assert (again.is_repeat, again.sibling) == (True, once.sibling)
    stored = engine.get_nowait(PLACE.stored_key)
    assert stored is not None and decode_object(stored).siblings == (once.sibling,)
