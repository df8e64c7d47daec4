"""What a real process measures beside its node; a simulated one has none of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringmill.cluster.meters.histogram import Histogram

__all__ = ["ProcessMeters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMeters:
    lags: Histogram  # of the event loop
    stalls: Callable[[], int]  # of the event loop, since the start
    sync_times: Histogram  # of appends to files with their sync
    certificate_ends_at: Callable[[], float | None]  # in seconds since 1970; None without TLS
    streams: Callable[[], tuple[int, int]]  # open ones of clients, and of other nodes
