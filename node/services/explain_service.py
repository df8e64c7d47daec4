"""The API that tells how a read goes: decodes, asks the room of requests."""

from __future__ import annotations

from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest
from ringmill.node.requests.encoding.kv_codec import read_request
from ringmill.node.requests.facade import Requests
from ringmill.node.services.table import Call, Service, unary

__all__ = ["ExplainService"]


class ExplainService:
    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def service(self) -> Service:
        return Service("ringmill.v1.Explain", {"Get": unary(GetRequest, self._get, tells_clock=True)})

    async def _get(self, message: GetRequest, call: Call) -> ExplainedGet:
        return await self._requests.explain(read_request(message, call.left_s))
