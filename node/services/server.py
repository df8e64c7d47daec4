"""The node's one gRPC server: every service on one port, with health and reflection.

It listens and limits messages, streams and connections; the given handlers answer the calls.  A port that is
taken is an error that names it, never a second listener.  A connection that has not finished the gRPC
handshake after 5 s is closed.  With credentials it speaks TLS, and nothing else.  Rules F3 and F7:
docs/protocol/requests.md.

A gateway for another protocol is another file beside this one, on node/requests/facade.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.wire.flow_control import FLOW_CONTROL
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.stubs import (
    auth_pb2,
    backup_pb2,
    explain_pb2,
    jobs_pb2,
    keyspaces_pb2,
    kv_pb2,
    members_pb2,
    membership_pb2,
    peer_pb2,
    registers_pb2,
    repair_pb2,
    scans_pb2,
    topology_pb2,
)
from ringmill.cluster.wire.stubs.peer_pb2_grpc import PeerServicer, add_PeerServicer_to_server
from ringmill.node.services.grpc_calls.over_grpc import GrpcHandlers
from ringmill.node.services.grpc_calls.timed_bodies import TimedBodies, TimedServer

__all__ = ["LIVENESS", "READINESS", "STARTUP", "NodeServer", "Services"]

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
STARTUP: Final = "startup"

_MESSAGE_OVERHEAD_BYTES: Final = 1024
IDLE_S: Final = 30.0
"""After which a connection without a call is closed: whoever keeps many takes the room of others.  A client
that calls again connects again.  Chosen, not measured."""
MOST_STREAMS: Final = 1000
"""On one connection.  A gateway may follow 500 jobs over one; what is more waits at the side that asks."""
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a taken port is an error
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # diallers ping every 10 s
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.server_handshake_timeout_ms", 5_000),  # a silent connection is closed
    ("grpc.max_concurrent_streams", MOST_STREAMS),
    *FLOW_CONTROL,
)


class Streams(Protocol):
    """Answers streams of frames, for the transport."""

    def servicer(self) -> PeerServicer:
        """Peer.Link, of peers."""
        ...

    async def session(self, requests: Any, context: grpc.aio.ServicerContext) -> None:
        """Kv.Session, of clients."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What a node answers: streams of frames, and single methods."""

    streams: Streams
    methods: GrpcHandlers = field(default_factory=dict)


class NodeServer:
    """One listening server.  `async with` owns it; `address` is where it listens."""

    def __init__(
        self,
        address: str,
        services: Services,
        *,
        max_message_bytes: int = MAX_FRAME_BYTES,
        max_connections: int = 16_384,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """`address` is "host:port"; port 0 chooses a free one.  A connection above the limit is closed."""
        self._wanted = address
        self._services = services
        self._credentials = credentials
        self._max_connections = max_connections
        self._max_message_bytes = max_message_bytes + _MESSAGE_OVERHEAD_BYTES
        self.address = address

    async def __aenter__(self) -> Self:
        """Listen.  Raises InvalidArgument, naming the port, when it is taken or cannot be bound."""
        limits = (
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", self._max_message_bytes),
            ("grpc.max_allowed_incoming_connections", self._max_connections),
            ("grpc.max_connection_idle_ms", int(IDLE_S * 1000)),
        )
        self._server = grpc.aio.server(options=_OPTIONS + limits)
        self._health = HealthServicer()
        self._register()
        self.address = self._bind()
        await self._set(LIVENESS, is_serving=True)
        await self._set(STARTUP, is_serving=False)
        await self.set_ready(False)
        await self._server.start()  # who asks at once is told that it is not ready, not that it is unknown
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(grace_s=0.0)

    async def set_started(self) -> None:
        """Note that the node has opened its data and knows its identity."""
        await self._set(STARTUP, is_serving=True)

    async def set_ready(self, is_ready: bool) -> None:
        """Set whether requests are accepted now; the health of the server as a whole ("") follows."""
        await self._set(READINESS, is_serving=is_ready)
        await self._set("", is_serving=is_ready)

    async def stop(self, *, grace_s: float) -> None:
        """Accept nothing new, give calls in progress `grace_s` seconds, then end them.

        Long-lived streams would use up the whole grace period, so drain the transport first, which ends them.
        """
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    def _bind(self) -> str:
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(self._wanted)
            else:
                port = self._server.add_secure_port(self._wanted, self._credentials)
        except RuntimeError as error:
            raise InvalidArgument(
                f"cannot listen on {self._wanted}: the port is taken or the address is not of this machine",
                hint="see who holds it with `ss -ltnp`, or choose another with --listen",
            ) from error
        return f"{self._wanted.rpartition(':')[0]}:{port}"

    def _register(self) -> None:
        server, services = self._server, self._services
        add_PeerServicer_to_server(services.streams.servicer(), server)
        server.add_registered_method_handlers(*_session_route(services.streams))
        bodies = TimedBodies()
        for service, methods in services.methods.items():
            server.add_registered_method_handlers(service, bodies.handlers(methods))
        timed = TimedServer(server, bodies)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, timed)
        add_ServerReflectionServicer_to_server(ReflectionServicer(_SERVICE_NAMES), timed)

    async def _set(self, service: str, *, is_serving: bool) -> None:
        status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
        await self._health.set(service, status)


_SERVICE_NAMES: Final = (
    *(
        service.full_name
        for module in (
            kv_pb2,
            registers_pb2,
            scans_pb2,
            explain_pb2,
            peer_pb2,
            topology_pb2,
            keyspaces_pb2,
            membership_pb2,
            jobs_pb2,
            repair_pb2,
            auth_pb2,
            members_pb2,
            backup_pb2,
        )
        for service in module.DESCRIPTOR.services_by_name.values()
    ),
    "grpc.health.v1.Health",
    reflection.SERVICE_NAME,
)


def _session_route(streams: Streams) -> tuple[str, dict[str, grpc.RpcMethodHandler]]:
    handler = grpc.stream_stream_rpc_method_handler(
        streams.session,
        request_deserializer=kv_pb2.Frame.FromString,
        response_serializer=kv_pb2.Frame.SerializeToString,
    )
    return "ringmill.v1.Kv", {"Session": handler}
