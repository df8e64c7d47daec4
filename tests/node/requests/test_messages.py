"""Messages between nodes: they come back as they were, and anything else is refused, never a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.replica.replica_messages import (
    Apply,
    ApplyAnswer,
    ApplyMany,
    ApplyManyAnswer,
    Deliver,
    DeliverAnswer,
    HintItem,
    Read,
    ReadAnswer,
    ReadMany,
    ReadManyAnswer,
)

HOME = KeyspaceId(1, 0)
MANY = ReadManyAnswer([Epoch(3), Epoch(0)], [b"object", None], [HybridTime(7), HybridTime(0)])
APPLIES = ApplyMany(Epoch(3), HOME, Durability.SYNCED, [b"k", b"l"], [b"one", b"two"])
APPLIED = ApplyManyAnswer([Epoch(3), Epoch(0)], Durability.BUFFERED, HybridTime(9))
EXAMPLES: list[tuple[bytes, Callable[[bytes], object]]] = [
    (Apply(Epoch(3), HOME, b"k", Durability.SYNCED, b"object").encode(), Apply.decode),
    (ApplyAnswer(Epoch(3), Durability.MEMORY, HybridTime(9)).encode(), ApplyAnswer.decode),
    (Read(Epoch(3), HOME, b"k").encode(), Read.decode),
    (ReadAnswer(Epoch(3), b"").encode(), ReadAnswer.decode),
    (APPLIES.encode(), ApplyMany.decode),
    (APPLIED.encode(), lambda body: ApplyManyAnswer.decode(body, 2)),
    (ReadMany(Epoch(3), HOME, [b"k", b"l"]).encode(), ReadMany.decode),
    (MANY.encode(), lambda body: ReadManyAnswer.decode(body, 2)),
    (
        Deliver(Epoch(3), (HintItem(HOME, b"k", b"object"), HintItem(HOME, b"l", b""))).encode(),
        Deliver.decode,
    ),
    (DeliverAnswer(("", "why")).encode(), lambda body: DeliverAnswer.decode(body, 2)),
]
NAMES = [
    "Apply",
    "ApplyAnswer",
    "Read",
    "ReadAnswer",
    "ApplyMany",
    "ApplyManyAnswer",
    "ReadMany",
    "ReadManyAnswer",
    "Deliver",
    "DeliverAnswer",
]
NO_MESSAGES = [b"", b"\xc1", *map(msgpack.packb, (None, 7, "text", {}, [], [[]], [None] * 20))]


def test_every_message_comes_back_as_it_was() -> None:
    apply = Apply(Epoch(3), HOME, b"k", Durability.SYNCED, b"object")
    assert Apply.decode(apply.encode()) == apply
    applied = ApplyAnswer(Epoch(3), Durability.MEMORY, HybridTime(9))
    assert ApplyAnswer.decode(applied.encode()) == applied
    assert Read.decode(Read(Epoch(3), HOME, b"k").encode()) == Read(Epoch(3), HOME, b"k")
    assert ApplyMany.decode(APPLIES.encode()) == APPLIES
    assert ApplyManyAnswer.decode(APPLIED.encode(), 2) == APPLIED
    many = ReadMany(Epoch(3), HOME, [b"k", b"l"])
    assert ReadMany.decode(many.encode()) == many
    assert ReadManyAnswer.decode(MANY.encode(), 2) == MANY
    for read in (ReadAnswer(Epoch(3), b""), ReadAnswer(Epoch(3), b"", HybridTime(7))):
        assert ReadAnswer.decode(read.encode()) == read
    deliver = Deliver(Epoch(3), (HintItem(HOME, b"k", b"object"), HintItem(HOME, b"l", b"")))
    assert Deliver.decode(deliver.encode()) == deliver
    assert DeliverAnswer.decode(DeliverAnswer(("", "why")).encode(), 2) == DeliverAnswer(("", "why"))


@pytest.mark.parametrize(("whole", "decode"), EXAMPLES, ids=NAMES)
def test_rubbish_is_refused_by_every_decoder(whole: bytes, decode: Callable[[bytes], object]) -> None:
    decode(whole)
    cut = [whole[:end] for end in range(len(whole))]
    for body in (*NO_MESSAGES, *cut, whole + b"\x00", *_with_a_field_of_another_type(whole)):
        with pytest.raises(ProtocolMismatch):
            decode(body)


def _with_a_field_of_another_type(whole: bytes) -> Iterator[bytes]:
    fields = msgpack.unpackb(whole)
    for at in range(len(fields)):
        yield msgpack.packb([*fields[:at], 1.5, *fields[at + 1 :]])
    yield msgpack.packb([*fields, 1.5])
    yield msgpack.packb([*fields, 1, 1])  # one more may be the last field of a message that can do without
    yield msgpack.packb(fields[:-1])


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(
            st.none() | st.booleans() | st.integers(0, 9) | st.binary(max_size=3) | st.text(max_size=3)
        ).map(msgpack.packb),
    )
)
def test_no_bytes_are_more_to_a_decoder_than_a_mismatch(body: bytes) -> None:
    for _, decode in EXAMPLES:
        with contextlib.suppress(ProtocolMismatch):
            decode(body)


@pytest.mark.parametrize(
    ("decode", "fields"),
    [
        (Read.decode, [-1, 1, 0, b"k"]),
        (Read.decode, [1, -1, 0, b"k"]),
        (ApplyAnswer.decode, [1, "synced", -9]),
        (ReadAnswer.decode, [-1, b""]),
        (Deliver.decode, [1, [[1, -1, b"k", b"object"]]]),
    ],
)
def test_a_number_below_zero_is_refused(decode: Callable[[bytes], object], fields: list[object]) -> None:
    with pytest.raises(ProtocolMismatch, match="is -"):
        decode(msgpack.packb(fields))


@pytest.mark.parametrize("answers", [1, 3])
def test_an_answer_for_another_number_of_hints_is_refused(answers: int) -> None:
    with pytest.raises(ProtocolMismatch):
        DeliverAnswer.decode(DeliverAnswer(("",) * answers).encode(), 2)
