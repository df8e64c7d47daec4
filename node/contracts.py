"""What a room of a node may see of another: the rooms are strangers that meet through these protocols.

Each is declared here, once, with the errors that its user has to expect; the class behind it is named.  What
a room sees of the world is in cluster/ports.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ring.topology import Row, Topology

__all__ = ["BundleSource", "ControlState", "LivenessView", "TimeKeeper", "TopologyView"]


class TopologyView(Protocol):
    """The topology as this node holds it (node/membership/topology_agent.py)."""

    @property
    def current(self) -> Topology | None:
        """The newest document this node knows."""
        ...

    @property
    def serving(self) -> bool:
        """This node, with the disk it has, is a member of a cluster that is formed."""
        ...

    def topology(self) -> Topology:
        """The current document.  Raises Unavailable when this node may not serve by it."""
        ...

    def check_row(self, partition: PartitionId, epoch: Epoch) -> Row:
        """The row by which a request of `epoch` may be served.  Raises WrongEpoch, Unavailable."""
        ...

    async def know(self, epoch: Epoch, *, ask: NodeId | None = None) -> None:
        """Know `epoch` or a later one.  Raises Unavailable."""
        ...

    async def wait_formed(self) -> None:
        """Returns once the first document is known to count."""
        ...


class LivenessView(Protocol):
    """An opinion about who can be reached; it re-routes and decides nothing (node/membership/liveness.py)."""

    def state(self, node: NodeId) -> MemberState: ...

    def is_up(self, node: NodeId) -> bool:
        """Worth sending to: it is not seen down."""
        ...

    def nearest_first(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """The same nodes, those to ask first in front."""
        ...

    def on_change(self, listener: Callable[[NodeId, MemberState], None]) -> None:
        """Call `listener` with each change of an opinion, on the loop."""
        ...


class TimeKeeper(Protocol):
    """Whoever judges this node's wall clock (node/membership/clock_watch.py)."""

    async def wait_judged(self, within_s: float) -> None:
        """Return once a jump of the clock was judged, or there is none, or time is up."""
        ...

    async def wait_compared(self, within_s: float) -> None:
        """Return once expiry goes by the cluster's clocks, or they were asked in vain, or time is up."""
        ...


class ControlState(Protocol):
    """The node's own small facts, kept beside its data (node/replica/control.py)."""

    def get(self, name: str) -> bytes | None:
        """The value last put under `name`."""
        ...

    async def put_synced(self, name: str, value: bytes) -> None:
        """Returns once the value is durable.  Raises Unavailable, Overloaded or DiskFull."""
        ...


class BundleSource(Protocol):
    """Where code bundles are (node/compute/bundles.py)."""

    async def ensure(self, sha256: str, source: NodeId) -> str:
        """The path of a bundle on this node, fetched from `source` when it is not here yet."""
        ...
