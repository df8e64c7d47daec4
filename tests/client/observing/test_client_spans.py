"""What the span of a client's request tells of a failure."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ringmill
from ringmill.client.blocking import Client
from ringmill.cluster.errors import RingmillError
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]
W_THAT_FAILS = 3  # OneNode has one member
PAIRS = [("a", b"1"), ("b", b"2")]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def told(exporter: InMemorySpanExporter) -> tuple[str, object]:
    """The name of the only span, and its error."""
    [span] = exporter.get_finished_spans()
    return span.name, of_span(span, "error.type")


def of_span(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)


async def test_a_request_that_failed_tells_how_many_nodes_were_asked(
    node: Node, exporter: InMemorySpanExporter
) -> None:
    async with ringmill.connect(node[1]) as db:
        with pytest.raises(RingmillError):
            await db.put("a", b"1", w=W_THAT_FAILS)
    assert told(exporter) == ("ringmill.put", "QUORUM_NOT_REACHED")
    assert of_span(exporter.get_finished_spans()[0], "ringmill.attempts") == 1


async def test_a_batch_has_failed_when_each_of_its_keys_has(
    node: Node, exporter: InMemorySpanExporter
) -> None:
    async with ringmill.connect(node[1]) as db:
        await db.mput(PAIRS, w=W_THAT_FAILS)
        assert told(exporter) == ("ringmill.mput", "QUORUM_NOT_REACHED")
        exporter.clear()
        await db.mput(PAIRS)
        assert told(exporter) == ("ringmill.mput", None)


@pytest.mark.parametrize(("second", "error"), [(W_THAT_FAILS, "QUORUM_NOT_REACHED"), (1, None)])
async def test_a_pipeline_has_failed_when_each_of_its_operations_has(
    node: Node, exporter: InMemorySpanExporter, second: int, error: str | None
) -> None:
    async with ringmill.connect(node[1]) as db, db.pipeline() as batch:
        failed = batch.put("a", b"1", w=W_THAT_FAILS)
        batch.put("b", b"1", w=second).add_done_callback(lambda told: told.exception())
        with pytest.raises(RingmillError):
            await failed
    assert told(exporter) == ("ringmill.pipeline", error)


async def test_a_pipeline_has_failed_when_its_block_has(node: Node, exporter: InMemorySpanExporter) -> None:
    async with ringmill.connect(node[1]) as db:
        with pytest.raises(ZeroDivisionError):
            async with db.pipeline():
                raise ZeroDivisionError
    assert told(exporter) == ("ringmill.pipeline", "ZeroDivisionError")


def test_so_has_a_blocking_one(node: Node, exporter: InMemorySpanExporter) -> None:
    with Client(node[1]) as db, pytest.raises(ZeroDivisionError), db.pipeline():
        raise ZeroDivisionError
    assert told(exporter) == ("ringmill.pipeline", "ZeroDivisionError")
