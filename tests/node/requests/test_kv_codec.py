"""Requests out of the bytes they came in and receipts back; anything else is refused, never a crash."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Actor, Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.wire.parsing import parsed, serialized
from ringmill.cluster.wire.request_options import WriteMessage, WriteOptions
from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, PutRequest, WriteReceipt
from ringmill.cluster.wire.stubs.kv_pb2 import ReplicaAck as AckMessage
from ringmill.node.requests.encoding.kv_codec import answer_write, encode_write, receipt_of
from ringmill.node.requests.operations.own_operations import OwnOperations
from ringmill.node.requests.request_values import WriteRequest
from ringmill.simulator.world.seeds import SeededEntropy

NAME = OperationId(2**64 - 1, 3, HybridTime(4))
DELETE = WriteRequest(
    "default", b"k", None, WriteOptions("all", "buffered", b"token", True, 0, 2.5), NAME, Epoch(5), 1
)
PUT = DELETE._replace(value=b"", options=DELETE.options._replace(ttl_ms=60_000))
RECEIPT = QuorumReceipt(
    Dot(Actor("n1#1"), 5), b"token", HybridTime(7), Epoch(1), 2,
    (
        QuorumAck(NodeId("n1"), Role.OWNER, Durability.SYNCED),
        QuorumAck(NodeId("n2"), Role.HINTED, Durability.MEMORY),
    ),
    True,
)  # fmt: skip


def test_a_node_whose_numbers_are_used_up_names_writes_by_another_session() -> None:
    """A write that its client gave no name gets one here, and goes to an owner with it."""
    operations = OwnOperations(HybridClock(SystemClock()), SeededEntropy(1, "n1"))
    operations._sequence = 2**32 - 2
    names = [operations.next() for _ in range(3)]
    assert [name.sequence for name in names] == [2**32 - 1, 1, 2]
    assert names[0].session != names[1].session == names[2].session
    for name in names:
        encode_write(PUT._replace(operation=name))


def came(
    kind: type[WriteMessage], body: bytes, left_s: float | None = None
) -> tuple[WriteRequest, WriteReceipt]:
    """The request that a message turns into, and the answer that `RECEIPT` turns into."""
    seen: list[WriteRequest] = []

    async def write(request: WriteRequest) -> QuorumReceipt:
        seen.append(request)
        return RECEIPT

    answer = asyncio.run(answer_write(write, parsed(kind, body), body, left_s))
    return seen[0], answer


@pytest.mark.parametrize(("kind", "request_"), [(PutRequest, PUT), (DeleteRequest, DELETE)])
def test_a_request_comes_back_as_it_was_with_the_bytes_it_came_in(
    kind: type[WriteMessage], request_: WriteRequest
) -> None:
    body = encode_write(request_)
    decoded, _ = came(kind, body, 2.0)
    assert decoded == request_._replace(left_s=2.0, encoded=body)


def test_a_receipt_comes_back_as_it_was() -> None:
    _, answer = came(PutRequest, encode_write(PUT))
    assert receipt_of(serialized(answer)) == RECEIPT


@pytest.mark.parametrize(
    "message",
    [
        WriteReceipt(dot="no dot"),
        WriteReceipt(dot="n1#1:5", replicas=[AckMessage(node="n1", role="king", durability="synced")]),
        WriteReceipt(dot="n1#1:5", replicas=[AckMessage(node="n1", role="owner", durability="hope")]),
    ],
)
def test_a_receipt_of_unknown_words_is_refused(message: Message) -> None:
    with pytest.raises(ProtocolMismatch, match="a receipt of"):
        receipt_of(message.SerializeToString())


@given(st.binary(max_size=60))
def test_whatever_bytes_come_no_number_is_below_zero(body: bytes) -> None:
    try:
        request, _ = came(PutRequest, body)
    except ProtocolMismatch:
        return
    numbers = [request.epoch, request.attempt, request.options.ttl_ms, request.options.timeout_s]
    assert min([*numbers, *(request.operation or NAME)]) >= 0
