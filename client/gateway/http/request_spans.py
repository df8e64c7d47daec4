"""The span of a request over HTTP, below the one that its caller names in `traceparent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.http.table.http_route import HttpRoute
from ringmill.client.routing.tracing import Tracing
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.traces.spans import UNRECORDED, Span, spanned
from ringmill.cluster.traces.trace_context import TRACEPARENT, TraceContext

__all__ = ["answer_in_span"]


async def answer_in_span(
    tracing: Tracing,
    request: web.BaseRequest,
    route: HttpRoute,
    answer: Callable[[], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Make the answer, in a span if this gateway traces.

    The path of a request has its key, so the span has that of the route.
    """
    tracer = tracing()
    if tracer is None:
        return await answer()
    above = TraceContext.parse(request.headers.get(TRACEPARENT, ""))
    span = tracer.begin(
        f"{request.method} {route.path}",
        kind="server",
        parent=b"" if above is None else above.encode(),
        notes={"http.request.method": request.method, "http.route": route.path},
    )
    with spanned(span or UNRECORDED, ends=span is not None):
        try:
            answered = await answer()
        except (HttpRefusal, RingmillError) as error:
            _end(span, error.status if isinstance(error, HttpRefusal) else error.http_status, error)
            raise
        _end(span, answered.status)
        return answered


def _end(span: Span | None, status: int, error: Exception | None = None) -> None:
    """What the caller did wrong is not a failure of this side, as OpenTelemetry's conventions have it."""
    if span is not None:
        span.note({"http.response.status_code": status})
        span.end(error if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)
