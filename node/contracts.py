"""The protocols through which the rooms of a node use each other.

Each is declared once, with the errors that its users must expect, and names the class that implements it.
cluster/ports.py declares the doors to the world.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.files.keyspace_records import Content
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.objects import OperationId

__all__ = [
    "BundleShelf",
    "BundleSource",
    "ChangedDocument",
    "ControlState",
    "KeptBundle",
    "KeyspaceAccess",
    "LivenessView",
    "RegisterAccess",
    "TimeKeeper",
    "TopologyChanges",
    "TopologyView",
]


class TopologyView(Protocol):
    """This node's copy of the topology (node/membership/topology_agent.py)."""

    @property
    def current(self) -> Topology | None:
        """The newest document this node knows."""
        ...

    @property
    def serving(self) -> bool:
        """Whether this node, with its disk, is a member of a formed cluster."""
        ...

    def serving_topology(self) -> Topology:
        """The current document.  Raises Unavailable when this node may not serve."""
        ...

    def check_row(self, partition: PartitionId, epoch: Epoch) -> Row:
        """The row for a request of `epoch`.  Raises WrongEpoch, Unavailable."""
        ...

    async def know(self, epoch: Epoch, *, ask: NodeId | None = None) -> None:
        """Fetch the topology until its epoch is at least `epoch`.  Raises Unavailable."""
        ...

    async def newest(self, within_s: float) -> Topology:
        """The newest document that was acknowledged to anybody.  Raises Unavailable, QuorumNotReached."""
        ...

    async def wait_formed(self) -> None:
        """Returns once the first document is known to count."""
        ...


class LivenessView(Protocol):
    """The view of which members are reachable; it only affects routing (node/membership/liveness.py)."""

    def state(self, node: NodeId) -> MemberState: ...

    def is_up(self, node: NodeId) -> bool:
        """Whether to send to a node: it is not seen down."""
        ...

    def nearest_first(self, nodes: Iterable[NodeId]) -> Sequence[NodeId]:
        """These nodes, in the order in which to ask them."""
        ...

    def on_change(self, listener: Callable[[NodeId, MemberState], None]) -> None:
        """Call `listener` on the loop at each change of a node's state."""
        ...


class TimeKeeper(Protocol):
    """The judge of this node's wall clock (node/membership/clock_watch.py)."""

    async def wait_judged(self, within_s: float) -> None:
        """Return once a jump of the clock was judged, if there was one, or time is up."""
        ...

    async def wait_compared(self, within_s: float) -> None:
        """Return once the median of the clocks is known, the members did not answer, or time is up."""
        ...

    async def hears(self, node: NodeId, within_s: float) -> bool:
        """Whether another node tells its time within this time: the smallest question there is."""
        ...


class ControlState(Protocol):
    """The node's own state, kept beside its data (node/replica/control.py)."""

    def get(self, name: str) -> bytes | None:
        """The value last put under `name`."""
        ...

    async def put_synced(self, name: str, value: bytes) -> None:
        """Returns once the value is durable.  Raises Unavailable, Overloaded or DiskFull."""
        ...


class LazyState(Protocol):
    """Values beside the node's own state that may be lost (node/replica/control.py)."""

    def get(self, name: str) -> bytes | None:
        """The value last put under `name`, once it is durable."""
        ...

    def put_along(self, name: str, value: bytes) -> None:
        """Durable together with the next value of the node's own state."""
        ...


class KeptBundle(NamedTuple):
    """A bundle on this node's disk."""

    sha256: str
    size: int  # bytes
    used_at: float  # seconds of the wall clock


class BundleSource(Protocol):
    """The code bundles of this node (node/compute/bundles.py)."""

    async def ensure(self, sha256: str, source: NodeId) -> str:
        """The path of a bundle on this node, fetched from `source` when it is not here yet.

        Raises RingmillError; DiskFull where there is no room for it.
        """
        ...


class BundleShelf(Protocol):
    """The code bundles of this node, for whoever says which of them are needed (node/compute/bundles.py)."""

    def excess(
        self, in_use: Collection[str] = (), *, most_bytes: int, longest_s: float, least_s: float
    ) -> list[KeptBundle]:
        """The bundles beyond the bounds, the longest unused first; none of those in use.  Raises OSError."""
        ...

    def drop(self, bundle: KeptBundle) -> None:
        """Remove a bundle from the disk.  Raises OSError."""
        ...


class RegisterAccess(Protocol):
    """The registers of the keyspace `registers`, for the node's own rooms
    (node/requests/registers/own_registers.py)."""

    @property
    def former_term(self) -> int:
        """A coordinator of jobs of this term, or a later one, has told which journals are forgotten."""
        ...

    async def read_cell(self, key: bytes, timeout_s: float) -> tuple[int, bytes | None]:
        """Version and value of a register.  Raises NotFound for one of a journal that this node knows as
        forgotten, else RingmillError."""
        ...

    async def set_cell(self, key: bytes, value: bytes | None, version: int, timeout_s: float) -> int:
        """Change a register that is in this version, and return its next one.

        Raises Conflict, whose detail has `version` and `current`; NotFound as `read_cell`; else
        RingmillError, with outcome "unknown" when it may have been changed or may still be.
        """
        ...


class ChangedDocument(Protocol):
    """The document in which a change is (node/membership/epoch_proposer.py)."""

    @property
    def topology(self) -> Topology: ...


class TopologyChanges(Protocol):
    """Changes of the topology document (node/membership/epoch_proposer.py)."""

    async def change(
        self, change: Callable[[Topology, bool], Topology | None], within_s: float
    ) -> ChangedDocument:
        """Raises what `change` raises; RingmillError, with outcome "unknown" when it may have been made."""
        ...


class KeyspaceAccess(Protocol):
    """The keyspaces of keys, for the jobs of this node (node/requests/for_jobs/own_keyspaces.py)."""

    async def find(self, name: str) -> tuple[KeyspaceEntry, range]:
        """A keyspace, and its partitions.  Raises InvalidArgument for one that holds no keys, or is not
        there; Unavailable."""
        ...

    def read(
        self, source: KeyspacePath, span: PartitionSpan, level: str, patience_s: float
    ) -> AsyncGenerator[Sequence[tuple[bytes, Content]], None]:
        """What is shown of all keys of these partitions, page by page, in the order of partition and key, now
        or in the snapshot that the span names.

        A page that fails is asked for again for `patience_s`.  Raises NotFound when the keyspace is there no
        more; RingmillError.
        """
        ...

    async def hold_snapshot(self, name: str, keyspace: KeyspaceEntry) -> int:
        """Have the owners keep what they hold now, under this name, for spans that say it.

        Returns the time by which its expiry is judged, in milliseconds since 1970.

        Raises QuorumNotReached when too few owners of some partition do.
        """
        ...

    async def keep_snapshot(self, name: str) -> None:
        """Have them keep it for a while longer."""
        ...

    async def release_snapshot(self, name: str) -> None:
        """It is not read any more.  One that is gone is no error."""
        ...

    async def put(
        self,
        keyspace: str,
        wanted: KeyspaceId,
        key: bytes,
        value: bytes,
        operation: OperationId,
        *,
        is_again: bool,
    ) -> None:
        """Put a value.  `is_again` says that this operation may have been sent before.

        Raises NotFound when the keyspace of this id is there no more; RingmillError, with outcome "unknown"
        when it may have been applied.
        """
        ...

    async def change(self, change: Callable[[Topology], Topology | None], within_s: float) -> Topology:
        """Change the topology document; returns the one in which the change is.

        Raises what `change` raises; RingmillError, with outcome "unknown" when it may have been made.
        """
        ...

    def now_ms(self) -> int:
        """The hybrid time of this node, in milliseconds since 1970: when an operation is born."""
        ...
