"""How far the sender of a gRPC stream may run ahead of its reader: one window, for both ends of a channel.

By default gRPC measures how wide the window has to be, by a ping beside the data.  On streams that carry a
small message now and then that is a ping beside nearly each of them: a third of the processor time of a node
at rest, and half of its wake-ups.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FLOW_CONTROL"]

_WINDOW_BYTES: Final = 4 << 20  # 40 MB/s at a round trip of 0.1 s

FLOW_CONTROL: Final = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
)
"""Options of a channel or a server."""
