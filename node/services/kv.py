"""The key-value API of a node: decodes, calls the coordinator, encodes.  It decides nothing.

The same methods answer unary gRPC calls and the operations of a session stream ("kv.put", "kv.delete",
"kv.get"), with the same messages (proto/kv.proto).
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument
from ringmill.cluster.ids import Epoch
from ringmill.cluster.limits import MAX_TIMEOUT_S
from ringmill.cluster.ports import Clock, Handler
from ringmill.cluster.quorum.receipt import Durability, Receipt
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.node.core import Core
from ringmill.node.requests.locate import Locator
from ringmill.node.requests.read import Reader
from ringmill.node.requests.room import Requests
from ringmill.node.requests.values import Located, LocateRequest, ReadRequest, ReadResult, WriteRequest
from ringmill.node.requests.write import Writer
from ringmill.node.services.table import Call, Service, frame_handler, unary

__all__ = ["KvService", "open_kv"]

_DURABILITIES: Final = {
    "": Durability.SYNCED,
    "sync": Durability.SYNCED,
    "buffered": Durability.BUFFERED,
    "memory": Durability.MEMORY,
}


def open_kv(core: Core, requests: Requests) -> KvService:
    """Answers session streams from now on, through the transport."""
    kv = KvService(writer=requests.writer, reader=requests.reader, locator=requests.locator, clock=core.clock)
    core.serve(kv.handlers())
    return kv


class KvService:
    """Kv.Session is the transport's, which calls `handlers` for each operation of a frame."""

    def __init__(self, *, writer: Writer, reader: Reader, locator: Locator, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._locator = locator
        self._put = unary(kv_pb2.PutRequest, self._do_put, tells_clock=True)
        self._delete = unary(kv_pb2.DeleteRequest, self._do_delete, tells_clock=True)
        self._get = unary(kv_pb2.GetRequest, self._do_get, tells_clock=True)
        self._clock = clock

    def service(self) -> Service:
        """The unary methods."""
        locate = unary(kv_pb2.LocateRequest, self._do_locate)
        methods = {"Put": self._put, "Delete": self._delete, "Get": self._get, "Locate": locate}
        return Service("ringmill.v1.Kv", methods)

    def handlers(self) -> dict[str, Handler]:
        """The methods of a session stream."""
        methods = {"kv.put": self._put, "kv.delete": self._delete, "kv.get": self._get}
        return {name: frame_handler(method, self._clock) for name, method in methods.items()}

    async def _do_put(self, request: kv_pb2.PutRequest, call: Call) -> kv_pb2.WriteReceipt:
        asked = _write_request(request, request.value, request.ttl_ms, call.left_s)
        return _receipt(await self._writer.write(asked))

    async def _do_delete(self, request: kv_pb2.DeleteRequest, call: Call) -> kv_pb2.WriteReceipt:
        return _receipt(await self._writer.write(_write_request(request, None, 0, call.left_s)))

    async def _do_get(self, request: kv_pb2.GetRequest, call: Call) -> kv_pb2.GetResponse:
        timeout_s = _timeout_s(request.timeout_ms, call.left_s)
        read = ReadRequest(request.keyspace, request.key, request.r, Epoch(request.epoch), timeout_s)
        return _read_result(await self._reader.read(read))

    async def _do_locate(self, request: kv_pb2.LocateRequest, call: Call) -> kv_pb2.LocateResponse:
        return _located(await self._locator.locate(LocateRequest(request.keyspace, request.key)))


def _write_request(
    request: kv_pb2.PutRequest | kv_pb2.DeleteRequest, value: bytes | None, ttl_ms: int, left_s: float | None
) -> WriteRequest:
    if request.durability not in _DURABILITIES:
        raise InvalidArgument(
            f"{request.durability[:40]!r} is no durability", hint="use sync, buffered or memory"
        )
    return WriteRequest(
        keyspace=request.keyspace,
        key=request.key,
        value=value,
        context=request.context,
        is_blind=request.no_context,
        level=request.w,
        durability=_DURABILITIES[request.durability],
        operation=_operation(request),
        epoch=Epoch(request.epoch),
        attempt=request.attempt,
        ttl_ms=ttl_ms,
        is_forwarded=request.forwarded,
        timeout_s=_timeout_s(request.timeout_ms, left_s),
    )


def _operation(request: kv_pb2.PutRequest | kv_pb2.DeleteRequest) -> OperationId | None:
    if not request.HasField("operation"):
        return None
    name = request.operation
    return OperationId(name.session, name.sequence, HybridTime(name.birth))


def _timeout_s(asked_ms: int, left_s: float | None) -> float:
    """What the request asks for, cut to what its call has left; 0 when neither says anything.

    Raises DeadlineExceeded when its caller waits no longer.
    """
    asked_s = asked_ms / 1000
    if left_s is None:
        return asked_s
    if left_s <= 0:
        raise DeadlineExceeded("the request waited past its deadline: nothing was done", outcome="failed")
    left_s = min(left_s, MAX_TIMEOUT_S)
    return min(asked_s, left_s) if asked_s else left_s


def _receipt(receipt: Receipt) -> kv_pb2.WriteReceipt:
    return kv_pb2.WriteReceipt(
        dot=str(receipt.dot),
        context=receipt.context,
        epoch=receipt.epoch,
        w=receipt.need,
        replicas=[
            kv_pb2.ReplicaAck(node=ack.node, role=ack.role.value, durability=ack.durability.value)
            for ack in receipt.replicas
        ],
        weak=receipt.is_weak,
        hybrid_time=receipt.time,
    )


def _read_result(result: ReadResult) -> kv_pb2.GetResponse:
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
    )


def _located(located: Located) -> kv_pb2.LocateResponse:
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
