"""The key-value API of a node: decodes, asks the room of requests, encodes.  It decides nothing.

The same methods answer unary gRPC calls and the operations of a session stream ("kv.put", "kv.delete",
"kv.touch", "kv.get"), with the same messages (proto/kv.proto).  All of them pass the gate: watches and locate
as reads (rule O4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from google.protobuf.message import Message

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import Epoch
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import Arrival, BatchHandler, Priority
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.wire.parsing import parsed, serialized
from ringmill.cluster.wire.request_options import ReadOptions, WriteMessage
from ringmill.cluster.wire.stubs.kv_pb2 import (
    DeleteRequest,
    GetRequest,
    GetResponse,
    LocateRequest,
    LocateResponse,
    PutRequest,
    TouchRequest,
    WatchKeyRequest,
    WatchKeyResponse,
    WatchPrefixRequest,
    WatchPrefixResponse,
    WriteReceipt,
)
from ringmill.node.core import Core
from ringmill.node.requests.encoding.answer_bytes import receipt_bytes, result_bytes
from ringmill.node.requests.encoding.kv_codec import (
    answer_locate,
    answer_read,
    answer_watch,
    answer_write,
    read_request,
    write_request,
)
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.request_values import LoneResult, ReadResult
from ringmill.node.requests.watches.prefix_watches import PrefixRequest
from ringmill.node.services.behind_gate import behind_gate
from ringmill.node.services.table import Call, Service, Unary, unary

__all__ = ["KvService", "open_kv"]

RequestT = TypeVar("RequestT", bound=Message)


PUT: Final = "kv.put"
DELETE: Final = "kv.delete"
TOUCH: Final = "kv.touch"
GET: Final = "kv.get"
_WRITES: Final[Mapping[str, type[WriteMessage]]] = MappingProxyType(
    {PUT: PutRequest, DELETE: DeleteRequest, TOUCH: TouchRequest}
)


def open_kv(core: Core, requests: Requests) -> KvService:
    """Answers session streams from now on, through the transport."""
    kv = KvService(core, requests)
    core.serve_batches(_behind(core.gate, kv.batch_handlers()))
    return kv


def _behind(gate: Gate, handlers: Mapping[str, BatchHandler]) -> dict[str, BatchHandler]:
    """The handlers behind the gate; methods that share one go on sharing it."""
    guarded: dict[BatchHandler, BatchHandler] = {}
    for method, handler in handlers.items():
        if handler not in guarded:
            guarded[handler] = gate.guard(handler, Priority.READ if method == GET else Priority.WRITE)
    return {method: guarded[handler] for method, handler in handlers.items()}


def _method(
    kind: type[RequestT],
    answer: Callable[[RequestT, Call], Awaitable[Message]],
    *,
    tells_clock: bool = True,
    holds: bool = False,
) -> Unary:
    """A unary method, with the limit on a message that a frame of a session has."""
    return unary(kind, answer, tells_clock=tells_clock, most_bytes=MAX_CLIENT_MESSAGE_BYTES, holds=holds)


class KvService:
    """The methods of the Kv service.  The transport answers Kv.Session, and calls each of
    `batch_handlers` once for a frame."""

    def __init__(self, core: Core, requests: Requests) -> None:
        self._requests = requests
        self._clock = core.clock

        def write(name: str, kind: type[WriteMessage]) -> Unary:
            return behind_gate(core, name, _method(kind, self._write), Priority.WRITE)

        def read(name: str, method: Unary) -> Unary:
            return behind_gate(core, name, method, Priority.READ)

        self._methods = {
            "Put": write(PUT, PutRequest),
            "Delete": write(DELETE, DeleteRequest),
            "Touch": write(TOUCH, TouchRequest),
            "Get": read(GET, _method(GetRequest, self._get)),
            "Watch": read("a watch", _method(WatchKeyRequest, self._watch, holds=True)),
            "WatchPrefix": read("a watch", _method(WatchPrefixRequest, self._watch_prefix, holds=True)),
            "Locate": read("locate", _method(LocateRequest, self._locate, tells_clock=False)),
        }

    def service(self) -> Service:
        """The unary methods."""
        return Service("ringmill.v1.Kv", self._methods)

    def batch_handlers(self) -> dict[str, BatchHandler]:
        """The methods of a session stream, all calls of a frame at a time."""
        return {
            PUT: self._writes,
            DELETE: self._writes,
            TOUCH: self._writes,
            GET: self._gets,
        }

    def _writes(self, arrivals: Sequence[Arrival]) -> None:
        batch, clock = self._requests.write_batch(), self._clock
        taken = list[tuple[WriteMessage, Arrival]]()
        for arrival in arrivals:
            body, left_s = arrival.body, arrival.deadline - clock.boottime()
            try:
                message = parsed(_WRITES[arrival.method], body)
                if batch.add(write_request(message, body, left_s), partial(_answer_write, arrival)):
                    taken.append((message, arrival))
                else:
                    arrival.answer_later(self._write_alone(message, arrival))
            except RingmillError as error:
                arrival.fail(error)
        for number in batch.commit():
            message, arrival = taken[number]
            arrival.answer_later(self._write_alone(message, arrival))

    async def _write_alone(self, message: WriteMessage, arrival: Arrival) -> bytes:
        """Do a write that has to wait for something, and encode its receipt."""
        body, left_s = arrival.body, arrival.deadline - self._clock.boottime()
        return serialized(await answer_write(self._requests.write, message, body, left_s))

    def _gets(self, arrivals: Sequence[Arrival]) -> None:
        now, batch = self._clock.boottime(), self._requests.read_batch()
        for arrival in arrivals:
            left_s = arrival.deadline - now
            try:
                message = parsed(GetRequest, arrival.body)
                if not batch.add(read_request(message, left_s), partial(_answer_read, arrival)):
                    arrival.answer_later(self._read_alone(message, left_s))
            except RingmillError as error:
                arrival.fail(error)
        batch.send()

    async def _read_alone(self, message: GetRequest, left_s: float) -> bytes:
        """Do a read that has to wait for something first, and encode its result."""
        return serialized(await answer_read(self._requests.get, message, left_s))

    async def _write(self, message: WriteMessage, call: Call) -> WriteReceipt:
        return await answer_write(self._requests.write, message, call.body, call.left_s)

    async def _get(self, message: GetRequest, call: Call) -> GetResponse:
        return await answer_read(self._requests.get, message, call.left_s)

    async def _watch(self, message: WatchKeyRequest, call: Call) -> WatchKeyResponse:
        return await answer_watch(self._requests.watch, message, call.left_s, call.peer)

    async def _watch_prefix(self, message: WatchPrefixRequest, call: Call) -> WatchPrefixResponse:
        news = await self._requests.watch_prefix(
            PrefixRequest(
                message.keyspace,
                message.prefix,
                message.cursor,
                ReadOptions("", message.timeout_ms / 1000),
                Epoch(message.epoch),
                call.left_s,
                call.peer,
            )
        )
        return WatchPrefixResponse(
            keys=news.keys, cursor=news.cursor, unscanned=news.unscanned, epoch=news.epoch
        )

    async def _locate(self, message: LocateRequest, call: Call) -> LocateResponse:
        return await answer_locate(self._requests.locate, message)


def _answer_write(arrival: Arrival, outcome: QuorumReceipt | RingmillError) -> None:
    if isinstance(outcome, RingmillError):
        arrival.fail(outcome)
    else:
        arrival.answer(receipt_bytes(outcome))


def _answer_read(arrival: Arrival, outcome: ReadResult | LoneResult | Exception) -> None:
    if isinstance(outcome, Exception):
        arrival.fail(outcome)
    else:
        arrival.answer(result_bytes(outcome))
