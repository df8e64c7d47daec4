"""The arguments of a gateway that records traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ringmill.cluster.adapters.tracing.trace_places import checked_trace_place

__all__ = ["recording_gateway"]


@contextmanager
def recording_gateway(place: str | None, one_in: int) -> Iterator[None]:
    """While it lasts, this process records its requests, and says of which trace they are.

    `one_in` is as a node's --trace-one-in.  Raises InvalidArgument.
    """
    if place is None:
        yield
        return
    place = checked_trace_place("--traces", place)
    from opentelemetry import trace

    from ringmill.cluster.adapters.tracing.trace_export import exporting_provider

    about = {"service.name": "ringmill-gateway", "service.instance.id": "gateway"}
    with exporting_provider(place, about, "--traces", one_in=one_in) as provider:
        trace.set_tracer_provider(provider)
        yield
