"""The tracer of the program that a client is part of.

A program that traces has loaded OpenTelemetry and given it a provider.  A client loads nothing for the
others: it looks whether that has happened.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

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
        api = sys.modules.get(_API)
        if api is None:
            return None
        if (provider := api.get_tracer_provider()) is not self._provider:
            self._provider, self._tracer = provider, _tracer_of(api)
        return self._tracer


def _tracer_of(api: ModuleType) -> Tracer | None:
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None  # nobody has set one
    from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer  # noqa: PLC0415

    return OtelTracer(provider)
