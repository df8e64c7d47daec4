"""The spans of a client's requests.

The client only asks whether the program that it is part of traces; client/connection.py knows by what.
See: docs/monitoring.md, "Traces".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.traces.span_names import span_name
from ringmill.cluster.traces.spans import Span, Tracer, carried_trace, is_unrecorded, spanned

__all__ = ["Tracing", "batch_span", "begun_span", "no_tracer", "request_span", "span_if_traced"]

Tracing: TypeAlias = Callable[[], Tracer | None]
"""Tells what records spans now; None: nothing does."""


def no_tracer() -> None:
    """No tracer: for a program that does not trace."""


def begun_span(tracer: Tracer, path: str, keyspace: str, *, keys: int = 1) -> Span | None:
    """The span of a request: "ringmill.put" for "/ringmill.v1.Kv/Put".  None if it is not recorded."""
    if is_unrecorded():
        return None
    name = span_name(path).removeprefix("kv.")
    notes: dict[str, str | int] = {"db.system.name": "ringmill", "db.operation.name": name}
    if keyspace:
        notes["db.namespace"] = keyspace
    if keys > 1:
        notes["db.operation.batch.size"] = keys
    return tracer.begin(f"ringmill.{name}", kind="client", parent=carried_trace(), notes=notes)


def span_if_traced(tracing: Tracing, path: str, keyspace: str = "", *, keys: int = 1) -> Span | None:
    """The span of a request, begun; None if it is not recorded, or nothing records spans."""
    tracer = tracing()
    return None if tracer is None else begun_span(tracer, path, keyspace, keys=keys)


def request_span(tracing: Tracing, path: str) -> AbstractContextManager[None]:
    """Make a request for a span of its own, if the program traces."""
    return spanned(span_if_traced(tracing, path))


@contextmanager
def batch_span(tracing: Tracing, path: str, keyspace: str, outcomes: Sequence[object]) -> Iterator[None]:
    """Make the requests of a batch for one span, if the program traces.

    There is an outcome for each key at the end.  The span fails by the first error if each of them is one.
    """
    span = span_if_traced(tracing, path, keyspace, keys=len(outcomes))
    with spanned(span):
        yield
        if span is not None:
            errors = [each for each in outcomes if isinstance(each, RingmillError)]
            if errors and len(errors) == len(outcomes):
                span.end(errors[0])
