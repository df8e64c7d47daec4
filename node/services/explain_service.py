"""The API that tells how a read goes: decodes, asks the room of requests.

It reads whole copies at the owners, so it comes to the gate as any read does (rule O4).
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.ports import Priority
from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest
from ringmill.node.core import Core
from ringmill.node.requests.encoding.kv_codec import read_request
from ringmill.node.requests.facade import Requests
from ringmill.node.services.access.own_keys import check_for_clients
from ringmill.node.services.behind_gate import behind_gate
from ringmill.node.services.table import Call, Service, unary

__all__ = ["ExplainService"]

_EXPLAIN: Final = "explain.get"


class ExplainService:
    def __init__(self, core: Core, requests: Requests) -> None:
        self._core = core
        self._requests = requests

    def service(self) -> Service:
        get = unary(GetRequest, self._get, tells_clock=True)
        return Service("ringmill.v1.Explain", {"Get": behind_gate(self._core, _EXPLAIN, get, Priority.READ)})

    async def _get(self, message: GetRequest, call: Call) -> ExplainedGet:
        check_for_clients(message.keyspace, message.key)
        return await self._requests.explain(read_request(message, call.left_s))
