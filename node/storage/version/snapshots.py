"""The sequence numbers of live snapshots: flush and compaction keep the versions that these can see.

What healing has written is newer than an older snapshot, which sees the damage to its end (rule H5).
"""

from __future__ import annotations

from types import TracebackType

from ringmill.node.storage.version.version import CorruptMark

__all__ = ["Snapshot", "Snapshots"]


class Snapshots:
    """Live snapshots by sequence number, with a count for each."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}
        self._healed: dict[int, tuple[CorruptMark, ...]] = {}  # since that snapshot was taken
        self.newest = 0

    def take(self, sequence: int) -> Snapshot:
        self._held[sequence] = self._held.get(sequence, 0) + 1
        self.newest = max(self._held)
        return Snapshot(self, sequence)

    def release(self, sequence: int) -> None:
        self._held[sequence] -= 1
        if not self._held[sequence]:
            del self._held[sequence]
            self._healed.pop(sequence, None)
            self.newest = max(self._held, default=0)

    def note_healed(self, marks: tuple[CorruptMark, ...], sequence: int) -> None:
        """What healed these marks is written up to batch `sequence`, and no older snapshot sees all of it."""
        for held in self._held:
            if held < sequence and marks:
                self._healed[held] = (*self._healed.get(held, ()), *marks)

    def healed_since(self, sequence: int) -> tuple[CorruptMark, ...]:
        """Marks that are in force for a live snapshot, though not any more for what is read as of now."""
        return self._healed.get(sequence, ())

    def live(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(sorted(self._held))


class Snapshot:
    """The store as it was after batch `sequence`, until released; releasing twice is fine."""

    __slots__ = ("_owner", "sequence")

    def __init__(self, owner: Snapshots, sequence: int) -> None:
        self._owner: Snapshots | None = owner
        self.sequence = sequence

    def release(self) -> None:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.release(self.sequence)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
