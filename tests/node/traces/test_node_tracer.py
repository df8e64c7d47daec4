"""Which calls of a node have a span, and what it tells."""

from __future__ import annotations

import pytest

from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.ids import NodeId
from ringmill.cluster.traces.spans import Notes, Span, SpanKind
from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, GetRequest, PutRequest
from ringmill.node.traces.node_tracer import NodeTracer

ABOVE = b"t" * 16 + b"abovespa" + b"\x01"
PUT = PutRequest(keyspace="books", key=b"secret", value=b"secret", w="2", durability="sync")


class Begun:
    """What was begun: name, parent and notes."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, bytes, Notes]] = []

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind,
        parent: bytes = b"",
        notes: Notes | None = None,
        place: bytes = b"",
    ) -> Span | None:
        self.spans.append((name, parent, notes or {}))
        return Span(b"t" * 16 + b"thisspan" + b"\x01")


def a_tracer(one_in: int) -> tuple[NodeTracer, Begun]:
    begun = Begun()
    return NodeTracer(begun, NodeId("n1"), one_in=one_in, entropy=OsEntropy()), begun


@pytest.mark.parametrize(("one_in", "count"), [(0, 0), (1, 50)])
def test_a_trace_begins_with_a_share_of_the_requests_of_clients(one_in: int, count: int) -> None:
    tracer, begun = a_tracer(one_in)
    for _ in range(50):
        tracer.begin_call("kv.get", b"", parent=b"", may_be_first=True)
        tracer.begin_call("kv.get", b"", parent=b"", may_be_first=False)
    assert len(begun.spans) == count


@pytest.mark.parametrize("method", ["kv.put", "ringmill.v1.Kv/Put", "forward.put"])
def test_a_write_tells_its_keyspace_and_levels_whichever_way_it_came(method: str) -> None:
    tracer, begun = a_tracer(0)
    tracer.begin_call(method, PUT.SerializeToString(), parent=ABOVE, may_be_first=False)
    [(name, parent, notes)] = begun.spans
    assert (name, parent) == (f"ringmill.{'forward' if method[0] == 'f' else 'kv'}.put", ABOVE)
    assert notes == {
        "db.system.name": "ringmill",
        "ringmill.node": "n1",
        "db.operation.name": "put",
        "db.namespace": "books",
        "ringmill.w": "2",
        "ringmill.durability": "sync",
    }


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("kv.get", GetRequest(keyspace="books", key=b"secret", r="all")),
        ("kv.delete", DeleteRequest(keyspace="books", key=b"secret")),
    ],
)
def test_no_key_is_reported(method: str, asked: GetRequest | DeleteRequest) -> None:
    tracer, begun = a_tracer(0)
    tracer.begin_call(method, asked.SerializeToString(), parent=ABOVE, may_be_first=False)
    [(_, _, notes)] = begun.spans
    assert notes["db.namespace"] == "books" and "secret" not in str(notes)


def test_a_body_that_cannot_be_read_is_traced_all_the_same() -> None:
    tracer, begun = a_tracer(0)
    assert tracer.begin_call("kv.put", b"\xff\xff", parent=ABOVE, may_be_first=False) is not None
    assert "db.namespace" not in begun.spans[0][2]


def test_what_comes_by_itself_has_no_span_and_hands_the_trace_on() -> None:
    tracer, begun = a_tracer(1)
    handed_on = tracer.begin_call("task.start", b"", parent=ABOVE, may_be_first=False)
    assert handed_on is not None and handed_on.carried == ABOVE
    assert tracer.begin_call("ringmill.v1.Topology/Get", b"", parent=b"", may_be_first=True) is None
    assert begun.spans == []
