"""Tables of services whose calls are traced: what comes over gRPC as one call, and not in a frame.

A caller that traces sends `traceparent` as metadata (W3C Trace Context).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from ringmill.cluster.traces.spans import CallTracer, Span, spanned
from ringmill.cluster.traces.trace_context import TRACEPARENT, TraceContext
from ringmill.node.services.table import Call, Method, Service, Stream, Unary, Upload

__all__ = ["traced"]


def traced(tables: Iterable[Service], tracer: CallTracer) -> tuple[Service, ...]:
    """These services, with a span for each call and upload that is traced.

    A stream has none: it lasts as long as its reader likes.
    """
    return tuple(
        Service(
            service.name,
            {
                name: _traced(method, f"{service.name}/{name}", tracer)
                for name, method in service.methods.items()
            },
        )
        for service in tables
    )


def _traced(method: Method, name: str, tracer: CallTracer) -> Method:
    if isinstance(method, Stream):
        return method

    def begun(call: Call) -> Span | None:
        context = TraceContext.parse(call.metadata.get(TRACEPARENT, ""))
        parent = context.encode() if context is not None and context.is_sampled else b""
        return tracer.begin_call(name, call.body, parent=parent, may_be_first=context is None)

    if isinstance(method, Unary):
        run = method.run

        async def answer(body: bytes, call: Call) -> bytes:
            with spanned(begun(call)):
                return await run(body, call)

        return replace(method, run=answer)
    take = method.run

    async def answer_upload(bodies: AsyncIterator[bytes], call: Call) -> bytes:
        with spanned(begun(call)):
            return await take(bodies, call)

    return Upload(answer_upload)
