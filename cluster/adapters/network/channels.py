"""How this project opens gRPC channels: one set of options for every dialler.

Each channel has its own connection, so that a stuck stream of one class of traffic never delays another.  The
dialler decides when to reconnect (cluster/adapters/network/frame_link.py), so gRPC's own retries are off.
Rules F1 and F5: docs/protocol/requests.md.
"""

from __future__ import annotations

import os
from typing import Final

import grpc

from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.wire.flow_control import FLOW_CONTROL
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES

__all__ = ["CONNECT_TIMEOUT_S", "GRPC_OVERHEAD_BYTES", "check_fork", "open_channel"]

CONNECT_TIMEOUT_S: Final = 5.0  # to connect and shake hands; calls that wait have deadlines of their own

GRPC_OVERHEAD_BYTES: Final = 1024  # of the protobuf message around a frame

_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment is for the web, not between nodes
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT_S * 1000)),  # gRPC's name for: give up after
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),  # a connection that went away without a word is noticed in 15 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Below the 30 s after which a node ends an idle connection: of that, gRPC would print a line in the
    # terminal of whoever uses this client.
    ("grpc.client_idle_timeout_ms", 20_000),
    *FLOW_CONTROL,
)


_used_by: list[int] = []
"""The process in which gRPC began its threads.  A fact of the process as gRPC's own state is, and of its
forked children, which have that state but not the threads: a channel opened there hangs or ends the child."""


def check_fork() -> None:
    """Raises Unavailable in a process that was forked from one in which gRPC was in use."""
    if _used_by and _used_by[0] != os.getpid():
        raise Unavailable(
            f"this process was forked from process {_used_by[0]} after that one had used gRPC, "
            "which cannot go on in a forked child",
            hint='fork before the first request, or start processes by "spawn" or "forkserver"',
        )


def open_channel(
    address: str, *, max_frame_bytes: int = MAX_FRAME_BYTES, tls: TlsFiles | None = None, node: str = ""
) -> grpc.aio.Channel:
    """A channel to "host:port", not yet connected.  Messages are bounded by the frame limit.

    With `tls` who listens there has to show the certificate of `node`, or of this host when `node` is "".
    Raises Unavailable as `check_fork`.
    """
    check_fork()
    if not _used_by:
        _used_by.append(os.getpid())
    limit = max_frame_bytes + GRPC_OVERHEAD_BYTES
    limits = (("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", limit))
    options: tuple[tuple[str, int | str], ...] = _OPTIONS + limits
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    if node:
        options += (("grpc.ssl_target_name_override", tls.host_of(node)),)
    return grpc.aio.secure_channel(address, tls.channel_credentials(), options=options)
