"""The metrics of a node on a port of its own: who may read them, and in which form they get them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ringmill.cluster.access.raw_tokens import TOKEN_KEY, raw_caller
from ringmill.cluster.adapters.network.http.exposition import Exposition
from ringmill.cluster.adapters.network.http.page_port import PagePort, ServedText
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.meters.family import Family
from ringmill.node.assembly import Node

__all__ = ["serving_metrics"]

_PATH: Final = "/metrics"
_ROW: Final = "Membership/Metrics"  # in the table of roles: it is as if the method had been called


@asynccontextmanager
async def serving_metrics(
    node: Node, families: Callable[[], Sequence[Family]], tls: TlsFiles | None
) -> AsyncIterator[str]:
    """Serve them while the context lasts; yields where.  Raises InvalidArgument when the port is taken."""
    config, control = node.core.config, node.access
    exposition = Exposition(families)

    def make(token: str, accept: str) -> ServedText:
        control.check(raw_caller(node.core.secret.text, {TOKEN_KEY: token}, control), _ROW)
        return ServedText(*exposition.text(accept))

    async with PagePort(config.metrics, _PATH, make, tls=tls):
        yield f"{'http' if tls is None else 'https'}://{config.metrics}{_PATH}"
