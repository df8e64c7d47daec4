"""Where the spans of a process go: a file of lines, or a collector of OpenTelemetry.

Spans are exported by a thread, in batches.  Of spans that end faster than they are exported, those above the
queue of OpenTelemetry's processor (2,048) are dropped.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from typing import Final, TextIO

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from ringmill.cluster.adapters.files.private_files import open_private
from ringmill.cluster.adapters.tracing.otel_tracer import GIVEN_ID
from ringmill.cluster.adapters.tracing.trace_places import file_of_traces
from ringmill.cluster.errors import InvalidArgument

__all__ = ["exporting_provider"]

EXPORT_EVERY_S: Final = 1.0
SEND_TIMEOUT_S: Final = 2.0  # short, as a node that stops waits for it
ENDING_S: Final = 1.0  # from then on nothing more is sent, so an end takes at most this and one timeout
FILE_BYTES: Final = 16 << 20
FILES: Final = 4
MOST_CHARACTERS: Final = 256  # of what a span tells: requests of clients may say anything
_WHO: Final = "service.instance.id"  # of `about`

_log = logging.getLogger(__name__)


@contextmanager
def exporting_provider(
    place: str, about: Mapping[str, str], origin: str, *, one_in: int = 1
) -> Iterator[TracerProvider]:
    """A provider whose spans go to `place`, as cluster/adapters/tracing/trace_places.py has it.

    `about` is told with each span, as attributes of its process; its instance names the file in a folder.
    One in `one_in` traces that begin here is recorded, 0: none; of others it was decided where they began.
    At the end what is left is exported, unless that takes too long.

    Raises InvalidArgument, which names `origin`, for a file that cannot be written.
    """
    path = file_of_traces(place)
    if path and os.path.isdir(path):
        path = os.path.join(path, f"{about[_WHO]}.jsonl")
    if path and os.path.exists(path) and not os.path.isfile(path):  # a device would be made private
        raise InvalidArgument(f"{origin} {path!r}: it is there, and is not a regular file")
    try:
        exporter: _SpanFile | _Collector = _SpanFile(path) if path else _Collector(place)
    except OSError as error:
        raise InvalidArgument(f"{origin} {path!r}: {error.strerror}") from error
    resource = Resource.create({"service.name": "ringmill", **about})
    drawn = ParentBased(TraceIdRatioBased(1 / one_in) if one_in else ALWAYS_OFF)
    provider = TracerProvider(
        drawn,
        resource,
        shutdown_on_exit=False,
        id_generator=GivenIds(),
        span_limits=SpanLimits(max_attribute_length=MOST_CHARACTERS),
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            schedule_delay_millis=EXPORT_EVERY_S * 1000,
            export_timeout_millis=SEND_TIMEOUT_S * 1000,
        )
    )
    try:
        yield provider
    finally:
        exporter.begin_end()
        provider.shutdown()


class GivenIds(RandomIdGenerator):
    """Ids by chance, unless that of a span is known before."""

    def generate_span_id(self) -> int:
        return GIVEN_ID.get() or super().generate_span_id()


class _Losses:
    """Logs only when a place begins to take no spans, and when it takes them again."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.is_lost = False

    def note(self, result: SpanExportResult) -> SpanExportResult:
        """Log it when traces begin or cease to be lost.  Returns the result."""
        is_lost = result is not SpanExportResult.SUCCESS
        if is_lost and not self.is_lost:
            _log.warning("traces are lost: %s takes none", self._place)
        elif self.is_lost and not is_lost:
            _log.info("traces are sent again: %s takes them", self._place)
        self.is_lost = is_lost
        return result


class _Collector(OTLPSpanExporter):
    """Sends spans over HTTP."""

    def __init__(self, url: str) -> None:
        super().__init__(endpoint=url, timeout=SEND_TIMEOUT_S)
        logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)  # two lines a second
        self._losses = _Losses(url)
        self._ends_at: float | None = None

    def begin_end(self) -> None:
        """The process is about to end: a collector that is slow or takes none does not hold it up."""
        self._ends_at = time.monotonic() + ENDING_S

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._ends_at is not None and (self._losses.is_lost or time.monotonic() > self._ends_at):
            return self._losses.note(SpanExportResult.FAILURE)
        return self._losses.note(super().export(spans))


class _SpanFile(SpanExporter):
    """Writes each span as a JSON object on a line of its own."""

    def __init__(self, path: str) -> None:
        self._file = _RotatedFile(path)
        self._losses = _Losses(path)

    def begin_end(self) -> None:
        """Nothing waits for a file."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._file.error = None
        for span in spans:
            self._file.emit(logging.makeLogRecord({"msg": span.to_json(indent=None)}))
            if self._file.error is not None:  # as when the disk is full
                return self._losses.note(SpanExportResult.FAILURE)
        return self._losses.note(SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        with suppress(OSError):  # what could not be written before cannot be now
            self._file.close()


class _RotatedFile(RotatingFileHandler):
    """At most FILES files with about FILE_BYTES in each, which only their owner can read."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8")
        self.error: BaseException | None = None
        """Why the last record that was not written could not be."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  its name is given
        """Remember why, where a handler of logs prints a traceback for each record."""
        self.error = sys.exception()
        if self.stream is not None and self.stream.closed:  # a full disk fails the close of a full file too
            self.stream = None  # then the next record opens it

    def _open(self) -> TextIO:  # type: ignore[override]  # it is no more than this in text mode
        descriptor = open_private(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)
