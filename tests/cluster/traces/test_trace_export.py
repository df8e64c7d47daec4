"""Spans reach a collector that speaks OTLP over HTTP; one that is away holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer
from ringmill.cluster.adapters.tracing.trace_export import exporting_provider
from ringmill.cluster.adapters.tracing.trace_places import checked_trace_place
from ringmill.cluster.errors import InvalidArgument, Overloaded
from ringmill.cluster.traces.spans import Span
from ringmill.cluster.traces.trace_context import TraceContext

ABOUT = {"service.instance.id": "n1"}
ABOVE = TraceContext(b"t" * 16, b"abovespa", 1)
PLACE = ABOVE._replace(span_id=b"known-id")


class Collector(HTTPServer):
    """What it was sent, with the paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.taken: list[tuple[str, ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        serving = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield collector
        collector.shutdown()
        serving.join()


def a_span(url: str) -> Span:
    """One that has failed, below another one, at a place that others know."""
    with exporting_provider(checked_trace_place("--traces", url), ABOUT, "--traces") as provider:
        span = OtelTracer(provider).begin(
            "ringmill.kv.put", kind="server", parent=ABOVE.encode(), place=PLACE.encode()
        )
        assert span is not None
        span.end(Overloaded("no room for key secret", outcome="failed"))
        span.end()
    return span


def test_a_collector_is_sent_each_span_with_its_place_and_what_came_of_it(collector: Collector) -> None:
    span = a_span(collector.url)
    assert TraceContext.decode(span.carried) == PLACE
    [(path, request)] = collector.taken
    assert path == "/v1/traces"
    [of_process] = request.resource_spans
    about = {each.key: each.value.string_value for each in of_process.resource.attributes}
    assert (about["service.name"], about["service.instance.id"]) == ("ringmill", "n1")
    [told] = of_process.scope_spans[0].spans
    assert (told.trace_id, told.span_id, told.parent_span_id) == (
        PLACE.trace_id,
        PLACE.span_id,
        ABOVE.span_id,
    )
    notes = {each.key: each.value.string_value for each in told.attributes}
    assert notes == {"error.type": "OVERLOADED", "ringmill.outcome": "failed"}
    assert b"secret" not in request.SerializeToString(), "the words of an error may name a key"


def test_a_collector_that_is_away_costs_the_spans_and_one_line_of_the_log(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    url = collector.url
    collector.server_close()
    with exporting_provider(url, ABOUT, "--traces") as provider:
        for _ in range(2):
            span = OtelTracer(provider).begin("ringmill.kv.put", kind="server")
            assert span is not None
            span.end()
            provider.force_flush()
    assert [record.getMessage() for record in caplog.records] == [f"traces are lost: {url} takes none"]


def test_a_caller_that_does_not_record_begins_no_span(collector: Collector) -> None:
    with exporting_provider(f"{collector.url}/v1/traces", ABOUT, "--traces", one_in=1) as provider:
        tracer = OtelTracer(provider)
        assert tracer.begin("x", kind="server", parent=ABOVE._replace(flags=0).encode()) is None
        assert tracer.begin("x", kind="server") is not None
    with exporting_provider(f"{collector.url}/v1/traces", ABOUT, "--traces", one_in=0) as provider:
        assert OtelTracer(provider).begin("x", kind="server") is None
        assert OtelTracer(provider).begin("x", kind="server", parent=ABOVE.encode()) is not None


def test_a_place_is_refused_where_opentelemetry_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{checked_trace_place.__module__}.find_spec", lambda _: None)
    with pytest.raises(InvalidArgument, match="--traces needs OpenTelemetry") as refused:
        checked_trace_place("--traces", "http://127.0.0.1:4318")
    assert refused.value.hint == "pip install 'ringmill[otel]'"


def test_a_file_that_cannot_be_written_is_told_with_its_setting() -> None:
    with (
        pytest.raises(InvalidArgument, match=r"--traces '/nowhere/traces': No such file"),
        exporting_provider("file:/nowhere/traces", ABOUT, "--traces"),
    ):
        raise AssertionError("it was opened")
