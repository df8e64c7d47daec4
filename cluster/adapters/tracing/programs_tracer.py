"""The tracer of the program that a client is part of.

A program that traces has loaded OpenTelemetry and given it a provider.  A client loads nothing for the
others: it looks whether that has happened.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

from ringmill.cluster.traces.spans import Tracer

__all__ = ["ProgramsTracer"]

_API: Final = "opentelemetry.trace"


class ProgramsTracer:
    """Call it for the tracer, None while the program does not trace.

    It is asked before each request, so it costs next to nothing.
    """

    __slots__ = ("_provider", "_tracer")

    def __init__(self) -> None:
        self._provider: object = None
        self._tracer: Tracer | None = None

    def __call__(self) -> Tracer | None:
        api: Any = sys.modules.get(_API)
        ask = getattr(api, "get_tracer_provider", None)  # another thread may be importing it just now
        if ask is None:
            return None
        if (provider := ask()) is not self._provider:
            self._provider, self._tracer = provider, _tracer_of(api, provider)
        return self._tracer


def _tracer_of(api: ModuleType, provider: Any) -> Tracer | None:
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None  # nobody has set one
    from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer  # noqa: PLC0415

    return OtelTracer(provider)
