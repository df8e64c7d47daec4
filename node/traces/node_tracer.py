"""The spans of what a node is asked: their names, what they tell, and which of them begin a trace.

A key is told in no span, and neither is a value.  Names of attributes are those of OpenTelemetry's semantic
conventions for databases, or begin with `ringmill.`.  See: docs/monitoring.md, "Traces".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Entropy
from ringmill.cluster.traces.span_names import HANDED_ON, span_name
from ringmill.cluster.traces.spans import Notes, Span, SpanKind, Tracer
from ringmill.cluster.wire.parsing import parsed
from ringmill.cluster.wire.request_options import WriteMessage
from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, GetRequest, PutRequest, TouchRequest

__all__ = ["NodeTracer"]

_WRITES: Final[Mapping[str, type[WriteMessage]]] = MappingProxyType(
    {"put": PutRequest, "delete": DeleteRequest, "touch": TouchRequest}
)


class NodeTracer:
    """Begins the spans of calls, and of this node's own work (ringmill.cluster.traces.spans).

    Of the calls of clients that trace nothing one in `one_in` begins a trace; 0: none does.
    """

    def __init__(self, tracer: Tracer, node: NodeId, *, one_in: int, entropy: Entropy) -> None:
        self._tracer = tracer
        self._common: Notes = {"db.system.name": "ringmill", "ringmill.node": node}
        self._one_in = one_in
        self._entropy = entropy

    def begin_call(self, method: str, body: bytes, *, parent: bytes, may_be_first: bool) -> Span | None:
        name = span_name(method)
        if not parent and (not may_be_first or not self._is_drawn()):
            return None
        if name in HANDED_ON:
            return Span(parent) if parent else None
        notes = {**self._common, "db.operation.name": name.rpartition(".")[2], **_told(name, body)}
        return self._tracer.begin(f"ringmill.{name}", kind="server", parent=parent, notes=notes)

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind,
        parent: bytes = b"",
        notes: Notes | None = None,
        place: bytes = b"",
    ) -> Span | None:
        """None without a parent: no trace begins with a node's own work."""
        if not parent:
            return None
        notes = {**self._common, **(notes or {})}
        return self._tracer.begin(name, kind=kind, parent=parent, notes=notes, place=place)

    def _is_drawn(self) -> bool:
        return self._one_in > 0 and self._entropy.uniform("traces") * self._one_in < 1


def _told(name: str, body: bytes) -> Notes:
    """What the request of a client says of itself, without its key."""
    room, _, verb = name.rpartition(".")
    if room not in {"kv", "forward"}:
        return {}
    kind = _WRITES.get(verb)
    try:
        if kind is not None:
            write = parsed(kind, body)
            return _named(write.keyspace, {"w": write.w, "durability": write.durability})
        if verb == "get":
            read = parsed(GetRequest, body)
            return _named(read.keyspace, {"r": read.r})
    except RingmillError:  # its caller is told by the handler
        pass
    return {}


def _named(keyspace: str, asked: Mapping[str, str]) -> Notes:
    """What was not said is the keyspace's default."""
    return {
        "db.namespace": keyspace,
        **{f"ringmill.{name}": value for name, value in asked.items() if value},
    }
