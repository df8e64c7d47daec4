"""Answers that are written as bytes are those of protobuf, field for field and byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.ids import Actor, Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.lone_value import LoneValue
from ringmill.cluster.versions.objects import OperationId, Sibling
from ringmill.cluster.wire.parsing import serialized
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.node.requests.encoding.answer_bytes import receipt_bytes, result_bytes
from ringmill.node.requests.request_values import LoneResult, ReadResult

BYTES = st.one_of(
    st.just(b""), st.binary(max_size=9), st.sampled_from([b"x" * 127, b"x" * 128, b"x" * 70_000])
)
NUMBERS = st.sampled_from([0, 1, 127, 128, 300, (1 << 32) - 1])
LONG = st.one_of(NUMBERS, st.sampled_from([(1 << 63) + 1, (1 << 64) - 1]))
TIMES = LONG.map(HybridTime)
EPOCHS = LONG.map(Epoch)
NODES = st.sampled_from(["n1", "n2", "node-" + "9" * 130, "é"]).map(NodeId)
DOTS = st.builds(Dot, st.sampled_from(["n1#1.aa", "é#" + "b" * 200]).map(Actor), LONG)
SIBLINGS = st.builds(
    Sibling,
    DOTS,
    st.one_of(st.none(), BYTES),
    TIMES,
    st.just(OperationId(1, 2, HybridTime(3))),
    LONG,
    st.booleans(),
)
ACKS = st.builds(QuorumAck, NODES, st.sampled_from(Role), st.sampled_from(Durability))


def receipt_message(receipt: QuorumReceipt) -> kv_pb2.WriteReceipt:
    return kv_pb2.WriteReceipt(
        dot=str(receipt.dot),
        context=receipt.context,
        epoch=receipt.epoch,
        w=receipt.w,
        replicas=[
            kv_pb2.ReplicaAck(
                node=ack.node,
                role=ack.role.value,
                durability=ack.durability.value,
                stands_for=ack.stands_for,
            )
            for ack in receipt.replicas
        ],
        weak=receipt.is_weak,
        hybrid_time=receipt.time,
    )


def result_message(result: ReadResult) -> kv_pb2.GetResponse:
    return kv_pb2.GetResponse(
        siblings=[
            kv_pb2.Sibling(
                value=sibling.value or b"",
                dot=str(sibling.dot),
                hybrid_time=sibling.time,
                expires_at_ms=sibling.expires_at_ms,
            )
            for sibling in result.siblings
        ],
        context=result.context,
        answered=result.answered,
        repaired=result.repaired,
        weak=result.is_weak,
        epoch=result.epoch,
        hybrid_time=result.time,
        judged_at_ms=result.judged_at_ms,
        hot=result.is_hot,
    )


def several(of: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(of, max_size=3).map(tuple)


@given(st.builds(QuorumReceipt, DOTS, BYTES, TIMES, EPOCHS, NUMBERS, several(ACKS), st.booleans()))
def test_a_receipt(receipt: QuorumReceipt) -> None:
    assert receipt_bytes(receipt) == serialized(receipt_message(receipt))


@given(DOTS, BYTES, TIMES, BYTES, several(NODES), st.booleans(), EPOCHS, TIMES, st.booleans())
def test_a_result_of_one_value_is_that_of_its_sibling(
    dot: Dot,
    value: bytes,
    written: HybridTime,
    context: bytes,
    answered: tuple[NodeId, ...],
    is_weak: bool,
    epoch: Epoch,
    time: HybridTime,
    is_hot: bool,
) -> None:
    lone = LoneValue(HybridTime(0), [[*dot]], [*dot, value, written, 1, 2, 3, 0, 0], b"")
    sibling = Sibling(dot, value, written, OperationId(1, 2, HybridTime(3)))
    result = ReadResult((sibling,), context, answered, 0, is_weak, epoch, time, 0, is_hot)
    lone_result = LoneResult(lone, context, answered, is_weak, epoch, time, is_hot)
    assert result_bytes(lone_result) == serialized(result_message(result))


@given(
    st.builds(
        ReadResult,
        several(SIBLINGS),
        BYTES,
        several(NODES),
        NUMBERS,
        st.booleans(),
        EPOCHS,
        TIMES,
        LONG,
        st.booleans(),
    )
)
def test_a_result(result: ReadResult) -> None:
    assert result_bytes(result) == serialized(result_message(result))
