"""How a process is set up that serves many requests: a node, or a gateway.

gRPC reads its settings once, when it is imported, so `prepare_grpc` comes before that.
"""

from __future__ import annotations

import gc
import os
from typing import Final

__all__ = ["GRPC_SETTINGS", "prepare_grpc", "spare_the_collector"]

GRPC_SETTINGS: Final = {
    "GRPC_ENABLE_FORK_SUPPORT": "false",  # else it would hook into forks
    # Its event engine hands each event through three threads, the poller that it replaced through one: that
    # was a quarter of what a node at rest did.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}
"""By the names of gRPC's variables of the environment."""
COLLECTOR_THRESHOLDS: Final = (10_000, 20, 100)  # CPython starts with 700, 10, 10


def prepare_grpc() -> None:
    """Have gRPC take these settings, where the environment has no others."""
    for name, value in GRPC_SETTINGS.items():
        os.environ.setdefault(name, value)


def spare_the_collector() -> None:
    """Freeze the objects made so far, because scanning them at each full garbage collection blocked the
    loop, and look for cycles less often: a request leaves none, so nearly every look finds nothing."""
    gc.collect()
    gc.freeze()
    gc.enable()  # importing the program of a node had it off
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
