"""Converts requests and answers of this room from and to the messages of proto/kv.proto.

It decodes the requests of clients (node/services/kv_service.py) and those that another node forwarded
(node/requests/forward.py).  A request keeps the bytes it came in, so that it can be forwarded unchanged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.versions.dots import parse_dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.wire.parsing import parsed, serialized
from ringmill.cluster.wire.request_options import ReadOptions, WriteMessage, WriteOptions
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.cluster.wire.stubs.registers_pb2 import CasRequest, IncrRequest
from ringmill.node.requests.encoding.answer_bytes import receipt_bytes, result_bytes
from ringmill.node.requests.request_values import (
    Located,
    LocateRequest,
    ReadRequest,
    ReadResult,
    WatchRequest,
    WriteRequest,
)

__all__ = [
    "Write",
    "answer_locate",
    "answer_read",
    "answer_watch",
    "answer_write",
    "encode_write",
    "operation_of",
    "read_request",
    "receipt_of",
    "write_request",
]

Write = Callable[[WriteRequest], Awaitable[QuorumReceipt]]
Read = Callable[[ReadRequest], Awaitable[ReadResult]]
Watch = Callable[[WatchRequest], Awaitable[ReadResult | None]]
Locate = Callable[[LocateRequest], Awaitable[Located]]


async def answer_write(
    write: Write, message: WriteMessage, body: bytes, left_s: float | None, *, is_forwarded: bool = False
) -> kv_pb2.WriteReceipt:
    """Do the write that came as `body`, which is `message`, and encode its receipt."""
    receipt = await write(write_request(message, body, left_s, is_forwarded=is_forwarded))
    return kv_pb2.WriteReceipt.FromString(receipt_bytes(receipt))


def write_request(
    message: WriteMessage, body: bytes, left_s: float | None, *, is_forwarded: bool = False
) -> WriteRequest:
    """The write that came as `body`, which is `message`."""
    value: bytes | None = None
    entry, amount, is_touch = b"", 0, False
    wanted: KeyspaceId | None = None
    if isinstance(message, kv_pb2.PutRequest):
        value, entry, amount = message.value, message.entry, message.amount
        if message.made_in_epoch:
            wanted = KeyspaceId(message.made_in_epoch, message.made_ordinal)
    elif isinstance(message, kv_pb2.TouchRequest):
        value, is_touch = b"", True
    else:
        entry = message.entry
    return WriteRequest(
        message.keyspace,
        message.key,
        value,
        WriteOptions.of(message),
        operation_of(message),
        Epoch(message.epoch),
        message.attempt,
        is_forwarded or message.forwarded,
        left_s,
        body,
        entry,
        amount,
        is_touch,
        wanted,
    )


async def answer_read(read: Read, message: kv_pb2.GetRequest, left_s: float | None) -> kv_pb2.GetResponse:
    return kv_pb2.GetResponse.FromString(result_bytes(await read(read_request(message, left_s))))


def read_request(message: kv_pb2.GetRequest, left_s: float | None) -> ReadRequest:
    return ReadRequest(message.keyspace, message.key, ReadOptions.of(message), Epoch(message.epoch), left_s)


async def answer_watch(
    watch: Watch, message: kv_pb2.WatchKeyRequest, left_s: float | None, connection: str
) -> kv_pb2.WatchKeyResponse:
    """Wait for news of a key; `connection` is the one that asks."""
    options = ReadOptions(message.r, message.timeout_ms / 1000)
    request = WatchRequest(
        message.keyspace, message.key, message.after, options, Epoch(message.epoch), left_s, connection
    )
    result = await watch(request)
    if result is None:
        return kv_pb2.WatchKeyResponse()
    return kv_pb2.WatchKeyResponse(found=kv_pb2.GetResponse.FromString(result_bytes(result)))


async def answer_locate(locate: Locate, message: kv_pb2.LocateRequest) -> kv_pb2.LocateResponse:
    located = await locate(LocateRequest(message.keyspace, message.key))
    return kv_pb2.LocateResponse(
        position=located.position,
        partition=located.partition,
        epoch=located.epoch,
        owners=[
            kv_pb2.OwnerCopy(
                node=copy.node,
                state=copy.state,
                dots=copy.dots,
                same=copy.is_same,
                answered=not copy.error,
                error=copy.error,
                tombstone=copy.tombstones,
                expires_at_ms=copy.expires_at_ms,
            )
            for copy in located.owners
        ],
        fallbacks=located.fallbacks,
    )


def encode_write(request: WriteRequest) -> bytes:
    """Encode a write as a client would: one that did not come as bytes, or got its operation id here."""
    message = _empty_message(request)
    message.keyspace, message.key = request.keyspace, request.key
    message.epoch, message.attempt = request.epoch, request.attempt
    if not isinstance(message, kv_pb2.TouchRequest):
        message.entry = request.entry
    if isinstance(message, kv_pb2.PutRequest):
        message.amount = request.amount
        if request.wanted is not None:
            message.made_in_epoch, message.made_ordinal = request.wanted
    request.options.fill(message)
    if (operation := request.operation) is not None:
        message.operation.session, message.operation.sequence = operation.session, operation.sequence
        message.operation.birth = operation.birth
    return serialized(message)


def _empty_message(request: WriteRequest) -> WriteMessage:
    if request.is_touch:
        return kv_pb2.TouchRequest()
    return kv_pb2.DeleteRequest() if request.value is None else kv_pb2.PutRequest(value=request.value)


def receipt_of(body: bytes) -> QuorumReceipt:
    """Decode the receipt of another node.  Raises ProtocolMismatch."""
    message = parsed(kv_pb2.WriteReceipt, body)
    try:
        return QuorumReceipt(
            parse_dot(message.dot),
            message.context,
            HybridTime(message.hybrid_time),
            Epoch(message.epoch),
            message.w,
            tuple(
                QuorumAck(NodeId(ack.node), Role(ack.role), Durability(ack.durability), ack.stands_for)
                for ack in message.replicas
            ),
            message.weak,
        )
    except ValueError as error:
        raise ProtocolMismatch(f"a receipt of {len(body)} bytes does not decode: {error}") from error


def operation_of(message: WriteMessage | CasRequest | IncrRequest) -> OperationId | None:
    """The name that a client gave; None when it gave none."""
    if not message.HasField("operation"):
        return None
    name = message.operation
    return OperationId(name.session, name.sequence, HybridTime(name.birth))
