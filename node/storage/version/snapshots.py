"""The sequence numbers of live snapshots: flush and compaction keep the versions that these can see.

What healing has written is newer than an older snapshot, which sees the damage to its end (rule H5).
"""

from __future__ import annotations

from types import TracebackType

from ringmill.node.storage.version.version import CorruptMark

__all__ = ["Snapshot", "Snapshots"]


class Snapshots:
    """Live snapshots by sequence number, each with those that are live."""

    def __init__(self) -> None:
        self._held: dict[int, set[Snapshot]] = {}
        self.newest = 0

    def take(self, sequence: int) -> Snapshot:
        snapshot = Snapshot(self, sequence)
        self._held.setdefault(sequence, set()).add(snapshot)
        self.newest = max(self._held)
        return snapshot

    def release(self, snapshot: Snapshot) -> None:
        held = self._held[snapshot.sequence]
        held.remove(snapshot)
        if not held:
            del self._held[snapshot.sequence]
            self.newest = max(self._held, default=0)

    def note_healed(self, marks: tuple[CorruptMark, ...], sequence: int) -> None:
        """What healed these marks is written up to batch `sequence`.  No snapshot that is live then is known
        to see all of it: where a loss was accepted there is nothing to be seen."""
        for held, snapshots in self._held.items():
            if held <= sequence:
                for snapshot in snapshots:
                    snapshot.healed_since += marks

    def live(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(sorted(self._held))


class Snapshot:
    """The store as it was after batch `sequence`, until released; releasing twice is fine."""

    __slots__ = ("_owner", "healed_since", "sequence")

    def __init__(self, owner: Snapshots, sequence: int) -> None:
        self._owner: Snapshots | None = owner
        self.sequence = sequence
        self.healed_since: tuple[CorruptMark, ...] = ()
        """Marks that are in force for this snapshot, though not any more for what is read as of now."""

    def release(self) -> None:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.release(self)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
