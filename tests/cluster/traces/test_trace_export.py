"""Spans reach a collector that speaks OTLP over HTTP; one that is away holds nobody up."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from ringmill.cluster.adapters import own_version
from ringmill.cluster.adapters.tracing import trace_export
from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer
from ringmill.cluster.adapters.tracing.programs_tracer import ProgramsTracer
from ringmill.cluster.adapters.tracing.trace_export import exporting_provider
from ringmill.cluster.adapters.tracing.trace_places import checked_trace_place
from ringmill.cluster.errors import InvalidArgument, Overloaded
from ringmill.cluster.traces.spans import Span
from ringmill.cluster.traces.trace_context import TraceContext

SOME_BATCHES = 1_500  # spans; a batch has 512
ABOUT = {"service.instance.id": "n1"}
ABOVE = TraceContext(b"t" * 16, b"abovespa", 1)
PLACE = ABOVE._replace(span_id=b"known-id")


class Collector(HTTPServer):
    """What it was sent, with the paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.taken: list[tuple[str, ExportTraceServiceRequest]] = []
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.server.answers.wait()
        self.send_response(self.server.status)
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


def record(provider: TracerProvider) -> None:
    span = OtelTracer(provider).begin("ringmill.kv.put", kind="server")
    assert span is not None
    span.end()


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
            record(provider)
            provider.force_flush()
    assert [record.getMessage() for record in caplog.records] == [f"traces are lost: {url} takes none"]


def test_an_end_waits_for_one_answer_of_a_collector_that_takes_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node has five seconds for its stop, and a collector that hangs takes two for each batch."""
    monkeypatch.setattr(trace_export, "SEND_TIMEOUT_S", 60.0)
    shutdown = TracerProvider.shutdown

    def shutdown_begins(provider: TracerProvider) -> None:
        collector.answers.set()
        shutdown(provider)

    monkeypatch.setattr(TracerProvider, "shutdown", shutdown_begins)
    collector.status = 400
    collector.answers.clear()
    with exporting_provider(f"{collector.url}/v1/traces", ABOUT, "--traces") as provider:
        for _ in range(SOME_BATCHES):
            record(provider)
    assert len(collector.taken) == 1


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_takes_no_more_costs_the_spans_and_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", trace_export.__name__)
    path = tmp_path / "traces"
    with exporting_provider(f"file:{path}", ABOUT, "--traces") as provider:
        record(provider)
        provider.force_flush()
        with files_of_at_most(path.stat().st_size):
            for _ in range(2):
                record(provider)
                provider.force_flush()
        assert [each.getMessage() for each in caplog.records] == [f"traces are lost: {path} takes none"]
        record(provider)
        provider.force_flush()
    assert caplog.records[-1].getMessage() == f"traces are sent again: {path} takes them"
    assert capsys.readouterr().err == "", "no traceback for each span"


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


def test_a_file_that_cannot_be_written_is_reported_with_its_setting() -> None:
    with (
        pytest.raises(InvalidArgument, match=r"--traces '/nowhere/traces': No such file"),
        exporting_provider("file:/nowhere/traces", ABOUT, "--traces"),
    ):
        raise AssertionError("it was opened")


def test_a_place_that_is_not_a_regular_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o644)
    with (
        pytest.raises(InvalidArgument, match=r"--traces '.*pipe': it is there, and is not a regular file"),
        exporting_provider(f"file:{path}", ABOUT, "--traces"),
    ):
        raise AssertionError("it was opened")
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://127.0.0.1:many", "Port could not be cast"),
        ("http://127.0.0.1:70000", "Port out of range"),
        ("http://127.0.0.1:0", "the URL of a collector"),
        ("http://user:secret@127.0.0.1:4318", "no user or password"),
        ("http://user:secret@[::1", "no user or password"),
    ],
)
def test_an_invalid_url_is_refused_with_its_setting(url: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^--traces.*{told}") as refused:
        checked_trace_place("--traces", url)
    assert "secret" not in str(refused.value)


def test_a_client_does_not_mind_opentelemetry_that_is_half_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    assert ProgramsTracer()() is None


def test_a_client_that_is_not_an_installed_distribution_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(own_version, "version", version)
    assert OtelTracer(TracerProvider()).begin("x", kind="client") is not None
