"""A node records traces: opens the place where they go, and closes it at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ringmill.cluster.adapters.own_version import own_version
from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer
from ringmill.cluster.adapters.tracing.trace_export import exporting_provider
from ringmill.cluster.ports import Entropy
from ringmill.node.config import NodeConfig
from ringmill.node.traces.node_tracer import NodeTracer

__all__ = ["recording_traces"]


@contextmanager
def recording_traces(config: NodeConfig, entropy: Entropy) -> Iterator[NodeTracer]:
    """Raises InvalidArgument for a file that cannot be written."""
    about = {"service.instance.id": config.id, "service.version": own_version()}
    with exporting_provider(config.traces, about, "--traces") as provider:
        yield NodeTracer(OtelTracer(provider), config.id, one_in=config.trace_one_in, entropy=entropy)
