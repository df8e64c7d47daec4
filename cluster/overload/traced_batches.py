"""Batches in which some requests are traced.

What is asked of other nodes for several requests together can be of one trace only, so each request that is
traced goes to its handler alone, and the others together as ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.ports import Arrival, BatchHandler
from ringmill.cluster.traces.spans import in_no_span, spanned

__all__ = ["handle_in_spans"]


def handle_in_spans(handler: BatchHandler, arrivals: Sequence[Arrival]) -> None:
    """Call a handler with the arrivals that are of no span, then with each other one, for its span."""
    plain = [arrival for arrival in arrivals if arrival.span is None]
    if plain:
        in_no_span(handler, plain)  # also where a request that is traced has made room for them
    if len(plain) < len(arrivals):
        for arrival in arrivals:
            if arrival.span is not None:
                with spanned(arrival.span, ends=False):
                    handler([arrival])
