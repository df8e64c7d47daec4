"""The client's door to one node, and the methods that it calls there.

A method has a unary path and, on the hot path, also a name in the frames of `Kv.Session`; the link chooses
between them.  Nothing here opens a connection: client/connection.py does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ports import Ended
from ringmill.cluster.wire.stubs import (
    explain_pb2,
    keyspaces_pb2,
    kv_pb2,
    membership_pb2,
    repair_pb2,
    scans_pb2,
    topology_pb2,
)

__all__ = [
    "DELETE",
    "EXPLAIN",
    "GET",
    "HEAL",
    "HEALTH",
    "IDENTIFY",
    "INIT",
    "LIST_KEYSPACES",
    "LOCATE",
    "PUT",
    "REPAIR_RUN",
    "REPAIR_STATUS",
    "SCAN",
    "STATUS",
    "TOPOLOGY",
    "TOUCH",
    "WATCH",
    "WATCH_PREFIX",
    "Abandon",
    "Link",
    "Method",
    "NoticingLink",
    "SendingLink",
    "read_answer",
]

Answer = TypeVar("Answer", bound=Message)
Abandon: TypeAlias = Callable[[], object]
Answer_co = TypeVar("Answer_co", bound=Message, covariant=True)


@dataclass(frozen=True, slots=True)
class Method(Generic[Answer_co]):
    """One method of the public API: gRPC path, name in session frames ("" when it has none), answer type."""

    path: str
    frame_name: str
    answer: type[Answer_co]
    is_write: bool = False


class Link(Protocol):
    """A connection to one node, opened on first use and opened again after it was lost."""

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        """Send one request and wait for the answer.

        Raises what the node raised; DeadlineExceeded after `timeout_s` (outcome unknown); Unavailable when
        the node cannot be reached, with outcome "failed" when certainly nothing was sent.
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class SendingLink(Link, Protocol):
    """A link that also sends without a task that waits, as one with a session does."""

    def send(self, method: Method[Message], request: Message, timeout_s: float, ended: Ended) -> Abandon:
        """Send a request of a method with a name in frames; raises nothing.

        `ended` is called once, perhaps before this returns, with the bytes of the answer or what `call` would
        raise.  Calling what is returned says that nobody waits any more: then `ended` is not called.
        """
        ...


@runtime_checkable
class NoticingLink(Link, Protocol):
    """A link on which a node can say that it is about to stop, as one with a session does."""

    def on_leaving(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop when the node says so."""
        ...


def read_answer(method: Method[Answer], address: str, body: bytes) -> Answer:
    """The answer to a request that was sent.  Raises ProtocolMismatch, outcome unknown."""
    try:
        return method.answer.FromString(body)
    except DecodeError:
        raise ProtocolMismatch(f"{address}: the answer cannot be read", outcome="unknown") from None


PUT = Method("/ringmill.v1.Kv/Put", "kv.put", kv_pb2.WriteReceipt, is_write=True)
DELETE = Method("/ringmill.v1.Kv/Delete", "kv.delete", kv_pb2.WriteReceipt, is_write=True)
TOUCH = Method("/ringmill.v1.Kv/Touch", "kv.touch", kv_pb2.WriteReceipt, is_write=True)
GET = Method("/ringmill.v1.Kv/Get", "kv.get", kv_pb2.GetResponse)
EXPLAIN = Method("/ringmill.v1.Explain/Get", "", explain_pb2.ExplainedGet)
SCAN = Method("/ringmill.v1.Scans/Page", "", scans_pb2.ScanPage)
LOCATE = Method("/ringmill.v1.Kv/Locate", "", kv_pb2.LocateResponse)
WATCH = Method("/ringmill.v1.Kv/Watch", "", kv_pb2.WatchKeyResponse)
WATCH_PREFIX = Method("/ringmill.v1.Kv/WatchPrefix", "", kv_pb2.WatchPrefixResponse)
LIST_KEYSPACES = Method("/ringmill.v1.Keyspaces/List", "", keyspaces_pb2.ListKeyspacesResponse)
TOPOLOGY = Method("/ringmill.v1.Topology/Get", "", topology_pb2.GetTopologyResponse)
IDENTIFY = Method("/ringmill.v1.Topology/Identify", "", topology_pb2.IdentifyResponse)
INIT = Method("/ringmill.v1.Topology/Init", "", topology_pb2.InitResponse)
STATUS = Method("/ringmill.v1.Membership/Status", "", membership_pb2.StatusResponse)
REPAIR_STATUS = Method("/ringmill.v1.Repair/Status", "", repair_pb2.RepairStatusResponse)
HEAL = Method("/ringmill.v1.Repair/Heal", "", repair_pb2.HealResponse)
REPAIR_RUN = Method("/ringmill.v1.Repair/Run", "", repair_pb2.RepairRunResponse)
HEALTH = Method("/grpc.health.v1.Health/Check", "", health_pb2.HealthCheckResponse)
