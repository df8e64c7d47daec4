"""The spans of a client's requests.

The client only asks whether the program that it is part of traces; client/connection.py knows by what.
See: docs/monitoring.md, "Traces".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ringmill.cluster.traces.span_names import span_name
from ringmill.cluster.traces.spans import Span, Tracer, carried_trace

__all__ = ["Tracing", "begun_span", "no_tracer"]

Tracing: TypeAlias = Callable[[], Tracer | None]
"""Tells what records spans now; None: nothing does."""


def no_tracer() -> None:
    """Of a program that does not trace."""


def begun_span(tracer: Tracer, path: str, keyspace: str, *, keys: int = 1) -> Span | None:
    """Of a request by its method: "ringmill.put" of "/ringmill.v1.Kv/Put".  None if it is not recorded."""
    name = span_name(path).removeprefix("kv.")
    notes: dict[str, str | int] = {"db.system.name": "ringmill", "db.operation.name": name}
    if keyspace:
        notes["db.namespace"] = keyspace
    if keys > 1:
        notes["db.operation.batch.size"] = keys
    return tracer.begin(f"ringmill.{name}", kind="client", parent=carried_trace(), notes=notes)
