"""The key-value API of a node: decodes, asks the room of requests, encodes.  It decides nothing.

The same methods answer unary gRPC calls and the operations of a session stream ("kv.put", "kv.delete",
"kv.get"), with the same messages (proto/kv.proto).
"""

from __future__ import annotations

from ringmill.cluster.ports import Clock, Handler
from ringmill.cluster.wire.stubs.kv_pb2 import (
    DeleteRequest,
    GetRequest,
    GetResponse,
    LocateRequest,
    LocateResponse,
    PutRequest,
    WriteReceipt,
)
from ringmill.node.core import Core
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.kv_codec import answer_locate, answer_read, answer_write
from ringmill.node.services.table import Call, Service, frame_handler, unary

__all__ = ["KvService", "open_kv"]


def open_kv(core: Core, requests: Requests) -> KvService:
    """Answers session streams from now on, through the transport."""
    kv = KvService(requests, core.clock)
    core.serve(kv.handlers())
    return kv


class KvService:
    """Kv.Session is the transport's, which calls `handlers` for each operation of a frame."""

    def __init__(self, requests: Requests, clock: Clock) -> None:
        self._requests = requests
        self._clock = clock
        self._methods = {
            "Put": unary(PutRequest, self._put, tells_clock=True),
            "Delete": unary(DeleteRequest, self._delete, tells_clock=True),
            "Get": unary(GetRequest, self._get, tells_clock=True),
            "Locate": unary(LocateRequest, self._locate),
        }

    def service(self) -> Service:
        """The unary methods."""
        return Service("ringmill.v1.Kv", self._methods)

    def handlers(self) -> dict[str, Handler]:
        """The methods of a session stream."""
        return {
            f"kv.{name.lower()}": frame_handler(self._methods[name], self._clock)
            for name in ("Put", "Delete", "Get")
        }

    async def _put(self, message: PutRequest, call: Call) -> WriteReceipt:
        return await answer_write(self._requests.put, message, call.body, call.left_s)

    async def _delete(self, message: DeleteRequest, call: Call) -> WriteReceipt:
        return await answer_write(self._requests.delete, message, call.body, call.left_s)

    async def _get(self, message: GetRequest, call: Call) -> GetResponse:
        return await answer_read(self._requests.get, message, call.left_s)

    async def _locate(self, message: LocateRequest, call: Call) -> LocateResponse:
        return await answer_locate(self._requests.locate, message)
