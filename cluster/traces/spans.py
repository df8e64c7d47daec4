"""Spans that are open in this process, and which of them the code that runs now works for.

The present span is a context variable, so whatever a handler begins, in tasks of its own, too, works for the
handler's span.  A span that has ended lends itself to nobody: what goes on after it is of no trace.

Who records spans is behind the protocol `Tracer` (cluster/adapters/tracing).  Without one nothing is made and
nothing is sent.  See: docs/monitoring.md, "Traces".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar

from ringmill.cluster.traces.trace_context import TraceContext

__all__ = [
    "CallTracer",
    "Notes",
    "Recorder",
    "Span",
    "SpanKind",
    "Tracer",
    "UNRECORDED",
    "carried_text",
    "carried_trace",
    "in_no_span",
    "is_unrecorded",
    "spanned",
]

P = ParamSpec("P")
T = TypeVar("T")

SpanKind: TypeAlias = Literal["client", "server", "internal"]
Notes: TypeAlias = Mapping[str, str | int | bool]
"""Attributes of a span, by the names of OpenTelemetry's conventions or ours."""


class Recorder(Protocol):
    """One span where it is recorded."""

    def note(self, notes: Notes) -> None: ...

    def end(self, error: BaseException | None) -> None: ...


class Span:
    """One piece of work, from its begin to its end.

    `carried` is what is sent with all that is asked for it (`TraceContext.encode`).  Without a recorder it
    only hands on the place in the trace of whoever has caused it.
    """

    __slots__ = ("_recorder", "carried", "is_over")

    def __init__(self, carried: bytes, recorder: Recorder | None = None) -> None:
        self.carried = carried
        self.is_over = False
        self._recorder = recorder

    def note(self, notes: Notes) -> None:
        """Add attributes."""
        if self._recorder is not None and not self.is_over:
            self._recorder.note(notes)

    def end(self, error: BaseException | None = None) -> None:
        """The work is done, or has failed; the first time counts."""
        if not self.is_over:
            self.is_over = True
            if self._recorder is not None:
                self._recorder.end(error)


class Tracer(Protocol):
    """Begins spans."""

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind,
        parent: bytes = b"",
        notes: Notes | None = None,
        place: bytes = b"",
    ) -> Span | None:
        """A span below `parent`, as a caller has sent it; without one it may be the first of a trace.

        `place` is what is carried for it, where others know that before.  None when it is not recorded.
        """
        ...


class CallTracer(Tracer, Protocol):
    """Begins the spans of calls that have come to this node, too."""

    def begin_call(self, method: str, body: bytes, *, parent: bytes, may_be_first: bool) -> Span | None:
        """The span of a call below `parent`, as its caller has sent it, b"" if it has sent none.

        None when it is not traced.  A call without a parent is only if a trace may begin with it.
        """
        ...


UNRECORDED: Final = Span(b"")
"""Work for it is of no trace, and begins none: that was decided for what has caused it."""

_PRESENT: Final[ContextVar[Span | None]] = ContextVar("ringmill_span", default=None)


def carried_trace() -> bytes:
    """What is sent with a call that is made now; b"" when it is of no trace."""
    span = _PRESENT.get()
    return b"" if span is None or span.is_over else span.carried


def is_unrecorded() -> bool:
    """Whether no trace is to begin with what the code does now."""
    return _PRESENT.get() is UNRECORDED


def carried_text() -> str:
    """The trace that is sent with a call made now, as a header has it; "" for none."""
    context = TraceContext.decode(carried_trace())
    return "" if context is None else context.text


@contextmanager
def spanned(span: Span | None, *, ends: bool = True) -> Iterator[None]:
    """Work for this span; None changes nothing.  At the end it `ends`, by the error that was raised."""
    if span is None:
        yield
        return
    token = _PRESENT.set(span)
    try:
        yield
    except BaseException as error:
        if ends:
            span.end(error)
        raise
    finally:
        _PRESENT.reset(token)
    if ends:
        span.end()


def in_no_span(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what begins something that outlives the request which has come first."""
    return Context().run(call, *args, **kwargs) if _PRESENT.get() is not None else call(*args, **kwargs)
