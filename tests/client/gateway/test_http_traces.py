"""A request over HTTP is below the span that its caller names, and the gateway's own request below that."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from ringmill.cluster.adapters.tracing.programs_tracer import ProgramsTracer
from tests.client.gateway.http_world import http_door
from tests.client.one_node import OneNode

ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
Node = tuple[OneNode, str]


def recorded(monkeypatch: pytest.MonkeyPatch, first: Sampler) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider(ParentBased(first))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


async def test_the_callers_span_is_above_that_of_the_route_and_no_key_is_told(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = recorded(monkeypatch, ALWAYS_OFF)
    async with http_door(node[1], tracing=ProgramsTracer()) as caller:
        await caller.ask("PUT", "/v1/kv/default/secret", data=b"v", headers={"traceparent": f"00-{ABOVE}-01"})
        await caller.ask("GET", "/v1/kv/default/nobody", headers={"traceparent": f"00-{ABOVE}-01"})
    put, request, _, missing = spans.get_finished_spans()
    assert (missing.attributes or {})["http.response.status_code"] == 404
    assert missing.status.is_unset, "what is not there is no failure of the gateway"
    assert (put.name, request.name) == ("ringmill.put", "PUT /v1/kv/{keyspace}/{key}")
    assert request.parent is not None and f"{request.parent.span_id:016x}" == ABOVE.split("-")[1]
    assert put.parent is not None and request.context is not None
    assert put.parent.span_id == request.context.span_id
    assert (request.attributes or {})["http.response.status_code"] == 200
    assert "secret" not in put.to_json() + request.to_json()


async def test_a_caller_that_does_not_record_is_heeded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = recorded(monkeypatch, ALWAYS_ON)
    async with http_door(node[1], tracing=ProgramsTracer()) as caller:
        await caller.ask("PUT", "/v1/kv/default/a", data=b"v", headers={"traceparent": f"00-{ABOVE}-00"})
        assert spans.get_finished_spans() == ()
        await caller.ask("PUT", "/v1/kv/default/a", data=b"v")
    assert len(spans.get_finished_spans()) == 2
