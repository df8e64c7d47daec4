"""What one read asked and was told, noted while it runs (rule G1).

The read itself is the same: a collection that notes what it hears, and an asker that notes whom it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringmill.cluster.deadline_wheel import Bucket
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.node.requests.owners.collection import Asker, Collection, Held

__all__ = ["OwnerTrace", "ReadTrace", "TracedCollection", "TracingAsker"]


@dataclass(slots=True)
class OwnerTrace:
    """One owner that was asked; times are in seconds since the read began."""

    asked_s: float
    told_s: float | None = None
    encoded: bytes | None = None
    error: str = ""
    was_silent: bool = False


@dataclass(slots=True)
class ReadTrace:
    """`written_back` has the owners that the read wrote to, and why it failed there."""

    clock: Clock
    begun: float = field(init=False)
    owners: dict[NodeId, OwnerTrace] = field(default_factory=dict)
    written_back: dict[NodeId, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begun = self.clock.monotonic()

    @property
    def spent_s(self) -> float:
        return self.clock.monotonic() - self.begun

    def asked(self, node: NodeId) -> None:
        self.owners[node] = OwnerTrace(self.spent_s)

    def told(self, node: NodeId, encoded: bytes | None, error: str = "") -> None:
        owner = self.owners[node]
        owner.told_s, owner.encoded, owner.error = self.spent_s, encoded, error

    def fell_silent(self) -> None:
        for owner in self.owners.values():
            owner.was_silent |= owner.told_s is None


class TracingAsker:
    def __init__(self, asker: Asker, trace: ReadTrace) -> None:
        self._asker = asker
        self._trace = trace

    def ask(self, collection: Collection, node: NodeId) -> None:
        self._trace.asked(node)
        self._asker.ask(collection, node)

    def ask_whole(self, collection: Collection, node: NodeId) -> None:
        self._asker.ask_whole(collection, node)

    def decode(self, collection: Collection, encoded: bytes) -> Held:
        return self._asker.decode(collection, encoded)

    def silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        self._asker.silent(nodes, for_s)

    def wait(self, collection: Collection, patience_s: float) -> Bucket:
        return self._asker.wait(collection, patience_s)


class TracedCollection(Collection):
    __slots__ = ("trace",)

    trace: ReadTrace

    def heard(self, node: NodeId, encoded: bytes, row_epoch: Epoch, mark: HybridTime = ZERO) -> None:
        self.trace.told(node, encoded)
        super().heard(node, encoded, row_epoch, mark)

    def failed(self, node: NodeId, error: Exception) -> None:
        self.trace.told(node, None, str(error) or type(error).__name__)
        super().failed(node, error)

    def expire(self) -> None:
        self.trace.fell_silent()
        super().expire()
