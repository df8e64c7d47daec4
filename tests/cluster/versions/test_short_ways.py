"""The short ways of codec, merge and write, for objects with one sibling, come to what the long ways do."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.versions import object_codec, objects
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.lone_value import LoneValue, lone_of, overwritten, replaces
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import (
    ABSENT,
    OperationId,
    Sibling,
    StoredObject,
    merge,
    supersede,
)
from ringmill.cluster.versions.replaced import entry_of, remember

ACTORS = ("n1#1.aa", "n2#1.bb")
NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 1 << 47, 1 << 48, (1 << 64) - 1, True, 1.0, None, "1"])
ODD = st.one_of(NUMBERS, st.binary(max_size=2), st.sampled_from([*ACTORS, "n1", "#" * 256, []]))
VECTORS = st.lists(st.tuples(st.sampled_from([*ACTORS, "n1", 3]), NUMBERS).map(list), max_size=2)


@st.composite
def bodies(draw: st.DrawFn) -> list[Any]:
    """Nearly an object of one sibling; often one field of it is odd."""
    counter = draw(st.integers(0, 3))
    fields: list[Any] = [
        ACTORS[0],
        counter,
        draw(st.binary(max_size=3)),
        5,
        6,
        7,
        4,
        0,
        draw(st.integers(0, 2)),
    ]
    body: list[Any] = [draw(st.integers(0, 3)), [[ACTORS[0], counter]], [fields]]
    if draw(st.booleans()):
        body.append(draw(st.sampled_from([bytes(16), bytes(32), bytes(3), [], 1])))
    match draw(st.integers(0, 3)):
        case 0:
            fields[draw(st.integers(0, 8))] = draw(ODD)
        case 1:
            body[1] = draw(VECTORS)
        case 2:
            body[draw(st.integers(0, 2))] = draw(ODD)
    return body


def outcome(data: bytes) -> StoredObject | str:
    try:
        return decode_object(data)
    except RingmillError as error:
        return error.code


@given(bodies())
def test_a_plain_object_decodes_to_what_any_object_decodes_to(body: list[Any]) -> None:
    data = bytes([len(body) - 2]) + msgpack.packb(body)
    with pytest.MonkeyPatch.context() as patch:
        short = outcome(data)
        patch.setattr(object_codec, "_plain", lambda *_: None)
        assert short == outcome(data)


@st.composite
def plain_objects(draw: st.DrawFn) -> StoredObject:
    """One sibling, and a context that covers it and perhaps more.

    Its memory is of other operations: no object remembers an operation as replaced and holds it too.
    """
    counts = {actor: draw(st.integers(0, 3)) for actor in ACTORS}
    dot = Dot(draw(st.sampled_from(ACTORS)), draw(st.integers(1, 3)))  # type: ignore[arg-type]
    counts[dot.actor] = max(counts[dot.actor], dot.counter)
    operation = OperationId(1, dot.counter, HybridTime(draw(st.integers(0, 3))))
    sibling = Sibling(
        dot, b"%d" % dot.counter, HybridTime(dot.counter), operation, is_retry=draw(st.booleans())
    )
    replaced = b""
    for number in draw(st.sampled_from([(), (), (1,), (2,), (1, 2)])):
        if (number, number) != operation[1:]:
            entry = entry_of(number, 1, number, number, is_retry=draw(st.booleans()))
            replaced = remember(replaced, entry)
    context = VersionVector.of((actor, count) for actor, count in counts.items() if count)  # type: ignore[misc]
    return StoredObject(context, (sibling,), HybridTime(draw(st.integers(0, 3))), replaced)


@given(plain_objects(), plain_objects())
def test_an_overwriting_merge_comes_to_what_any_merge_comes_to(
    ours: StoredObject, theirs: StoredObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        short = merge(ours, theirs)
        patch.setattr(objects, "_overwrites", lambda *_: None)
        assert short == merge(ours, theirs)


def lone(stored: StoredObject) -> LoneValue:
    told = lone_of(encode_object(stored))
    assert told is not None
    return told


def sibling_of(told: LoneValue) -> Sibling:
    actor, counter, value, time, session, sequence, birth, expires_at_ms, flags = told.fields
    operation = OperationId(session, sequence, birth)
    return Sibling(Dot(actor, counter), value, time, operation, expires_at_ms, bool(flags))


@given(bodies())
def test_a_lone_value_is_read_from_the_bytes_that_decode_to_one(body: list[Any]) -> None:
    data = bytes([len(body) - 2]) + msgpack.packb(body)
    told, stored = lone_of(data), outcome(data)
    if isinstance(stored, str) or len(stored.siblings) != 1 or stored.siblings[0].value is None:
        assert told is None
        return
    assert told is not None
    assert (told.forgotten, sibling_of(told)) == (stored.forgotten, stored.siblings[0])
    assert told.replaced == stored.replaced
    assert tuple(map(tuple, told.vector)) == stored.context.entries
    assert told.time == stored.newest and told.knows(stored.siblings[0].operation)


@given(plain_objects(), plain_objects())
def test_what_replaces_a_lone_value_is_what_the_merge_comes_to(
    ours: StoredObject, theirs: StoredObject
) -> None:
    if replaces(lone(theirs), lone(ours)):
        assert merge(ours, theirs) == theirs != ours


@given(plain_objects(), st.sampled_from(ACTORS), st.integers(0, 3))
def test_a_write_over_a_lone_value_makes_what_superseding_makes(
    present: StoredObject, actor: str, birth: int
) -> None:
    dot = Dot(actor, 4)  # type: ignore[arg-type]
    sibling = Sibling(dot, b"new", HybridTime(9), OperationId(2, 1, HybridTime(birth)))
    written = overwritten(lone(present), sibling)
    assert written == supersede(present, present.context, sibling)
    assert replaces(lone(written), lone(present))
    assert overwritten(None, sibling) == supersede(ABSENT, ABSENT.context, sibling)
