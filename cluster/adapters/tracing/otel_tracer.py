"""OpenTelemetry as what records spans.

Only processes that trace load this file: it needs the packages of `pip install ringmill[otel]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from ringmill.cluster.adapters.own_version import own_version
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.traces.spans import Notes, Span, SpanKind
from ringmill.cluster.traces.trace_context import TraceContext

__all__ = ["GIVEN_ID", "OtelTracer"]

_KINDS: Final[Mapping[SpanKind, trace.SpanKind]] = MappingProxyType(
    {
        "client": trace.SpanKind.CLIENT,
        "server": trace.SpanKind.SERVER,
        "internal": trace.SpanKind.INTERNAL,
    }
)


GIVEN_ID: Final[ContextVar[int]] = ContextVar("ringmill_given_id", default=0)
"""The id of the span that is being begun; 0: it gets one by chance."""


class OtelTracer:
    """Begins spans with a provider (ringmill.cluster.traces.spans.Tracer).

    A span without a parent is below OpenTelemetry's current span, where there is one.
    """

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("ringmill", own_version())

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind,
        parent: bytes = b"",
        notes: Notes | None = None,
        place: bytes = b"",
    ) -> Span | None:
        """`place` is heeded by a provider whose ids are GivenIds."""
        above, given = TraceContext.decode(parent), TraceContext.decode(place)
        context = None if above is None else _below(above)
        token = GIVEN_ID.set(0 if given is None else int.from_bytes(given.span_id, "big"))
        try:
            recorded = self._tracer.start_span(name, context, kind=_KINDS[kind], attributes=notes)
        finally:
            GIVEN_ID.reset(token)
        found = recorded.get_span_context()
        if not found.is_valid or not found.trace_flags.sampled:
            return None
        carried = TraceContext(
            found.trace_id.to_bytes(16, "big"), found.span_id.to_bytes(8, "big"), int(found.trace_flags)
        )
        return Span(carried.encode(), _OtelRecorder(recorded))


class _OtelRecorder:
    """One span (ringmill.cluster.traces.spans.Recorder)."""

    def __init__(self, recorded: trace.Span) -> None:
        self._recorded = recorded

    def note(self, notes: Notes) -> None:
        self._recorded.set_attributes(notes)

    def end(self, error: BaseException | None) -> None:
        """The words of an error may name a key, so only its code is recorded."""
        if error is not None:
            code = error.code if isinstance(error, RingmillError) else type(error).__name__
            self._recorded.set_attribute("error.type", code)
            if isinstance(error, RingmillError):
                self._recorded.set_attribute("ringmill.outcome", error.outcome)
            self._recorded.set_status(Status(StatusCode.ERROR))
        self._recorded.end()


def _below(above: TraceContext) -> Context:
    place = SpanContext(
        int.from_bytes(above.trace_id, "big"),
        int.from_bytes(above.span_id, "big"),
        is_remote=True,
        trace_flags=TraceFlags(above.flags),
    )
    return set_span_in_context(NonRecordingSpan(place), Context())
