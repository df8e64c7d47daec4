"""A transport in one process: encoded bytes between handler tables, nodes that can be cut off."""

from collections.abc import Callable, Mapping
from inspect import isawaitable

import pytest

from ringmill.cluster.errors import ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Handler, Incoming, Priority


class Wire:
    """All nodes' handler tables.  `cut` nodes neither hear nor are heard; `answered` sees each call."""

    def __init__(self) -> None:
        self.tables: dict[NodeId, dict[str, Handler]] = {}
        self.cut: set[NodeId] = set()
        self.calls: list[tuple[NodeId, str]] = []
        self.answered: Callable[[NodeId, NodeId, str, bytes], None] = lambda *_: None

    def end(self, node: str) -> "WireEnd":
        return WireEnd(self, NodeId(node))


class WireEnd:
    def __init__(self, wire: Wire, node: NodeId) -> None:
        self._wire = wire
        self._node = node
        self._table = wire.tables.setdefault(node, {})

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Everybody is known."""

    def serve(self, method: str, handler: Handler) -> None:
        self._table[method] = handler

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        wire = self._wire
        wire.calls.append((to, method))
        if to not in wire.tables or {to, self._node} & wire.cut:
            raise Unavailable(f"{to} cannot be reached")
        handler = wire.tables[to].get(method)
        if handler is None:
            raise ProtocolMismatch(f"{to} does not serve {method}")
        answer = handler(Incoming(self._node, method, bytes(body), timeout_s, priority))
        answer = await answer if isawaitable(answer) else answer
        wire.answered(self._node, to, method, body)
        if {to, self._node} & wire.cut:
            raise Unavailable(f"{to} went away", outcome="unknown")
        return answer


@pytest.fixture
def wire() -> Wire:
    return Wire()
