"""What one read asked and what owners answered, noted while it runs (rule G1).

The read itself is the same: it notes what comes in, and its handler notes whom it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringmill.cluster.deadline_wheel import Bucket
from ringmill.cluster.errors import reason_of
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.node.requests.owners.read_in_flight import OwnerObject, ReadHandler, ReadInFlight

__all__ = ["OwnerTrace", "ReadTrace", "TracedRead", "TracingHandler"]


@dataclass(slots=True)
class OwnerTrace:
    """One owner that was asked; times are in seconds since the read began."""

    asked_s: float
    answered_s: float | None = None
    encoded: bytes | None = None
    error: str = ""
    was_silent: bool = False


@dataclass(slots=True)
class ReadTrace:
    """How one read went.  `written_back` has the owners that it wrote to, and why that failed."""

    clock: Clock
    begun: float = field(init=False)
    owners: dict[NodeId, OwnerTrace] = field(default_factory=dict)
    written_back: dict[NodeId, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begun = self.clock.monotonic()

    @property
    def spent_s(self) -> float:
        return self.clock.monotonic() - self.begun

    def note_asked(self, node: NodeId) -> None:
        self.owners[node] = OwnerTrace(self.spent_s)

    def note_answer(self, node: NodeId, encoded: bytes | None, error: str = "") -> None:
        owner = self.owners[node]
        owner.answered_s, owner.encoded, owner.error = self.spent_s, encoded, error

    def note_silence(self) -> None:
        for owner in self.owners.values():
            owner.was_silent |= owner.answered_s is None


class TracingHandler:
    def __init__(self, handler: ReadHandler, trace: ReadTrace) -> None:
        self._handler = handler
        self._trace = trace

    def ask(self, read: ReadInFlight, node: NodeId) -> None:
        self._trace.note_asked(node)
        self._handler.ask(read, node)

    def ask_whole(self, read: ReadInFlight, node: NodeId) -> None:
        self._handler.ask_whole(read, node)

    def decode(self, read: ReadInFlight, encoded: bytes) -> OwnerObject:
        return self._handler.decode(read, encoded)

    def late_s(self, node: NodeId) -> float:
        return self._handler.late_s(node)

    def may_hedge(self) -> bool:
        return self._handler.may_hedge()

    def note_silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        self._handler.note_silent(nodes, for_s)

    def call_after(self, read: ReadInFlight, patience_s: float) -> Bucket:
        return self._handler.call_after(read, patience_s)


class TracedRead(ReadInFlight):
    __slots__ = ("trace",)

    trace: ReadTrace

    def record_answer(
        self, node: NodeId, encoded: bytes, row_epoch: Epoch, watermark: HybridTime = ZERO
    ) -> None:
        self.trace.note_answer(node, encoded)
        super().record_answer(node, encoded, row_epoch, watermark)

    def record_failure(self, node: NodeId, error: Exception) -> None:
        self.trace.note_answer(node, None, reason_of(error))
        super().record_failure(node, error)

    def expire(self) -> None:
        self.trace.note_silence()
        super().expire()
