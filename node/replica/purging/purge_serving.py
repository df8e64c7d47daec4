"""An owner's side of the proof of a watermark: it notes an attempt, keeps it, and says what it knows of one.

Rules P1 and P2: docs/protocol/deletes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import Epoch, NodeId, PartitionId, Start
from ringmill.cluster.ports import Handler, Incoming
from ringmill.cluster.quorum.watermark import Fate, Note
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime, millis
from ringmill.node.replica.comparing.exchange_serving import known_sums
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.purging.purge_messages import (
    FATE,
    KEEP,
    NOTE,
    SETTLE,
    VOUCH,
    AskFate,
    AskKeep,
    AskNote,
    Fates,
    KeepAnswer,
    NoteAnswer,
    Settle,
)
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stored_key import Kind, kind_prefix, prefix_end
from ringmill.node.storage.engine import Engine

__all__ = ["PurgeServing", "clock_complaint"]

BEHIND: Final = 0.8
"""A watermark has to be behind an owner's own clock by this share of the age of what is forgotten, so that no
clock, however far ahead, has fresh writes of another node taken for old ones."""
OWED: Final = "a former copy there may hold what the owners lack"
DROPPED_THERE: Final = "what a dropped keyspace has left is removed there first"


def clock_complaint(hybrid: HybridClock, after_s: float) -> str:
    """Why nothing is old by this node's clock; "" when it may be.

    A step that all clocks have made alike may be wrong all the same.  Until it is as old as what is forgotten
    has to be, time has passed no faster than the boot clock says: there is time to set the clocks right.
    Small steps may add up to what a clock that is behind is allowed: what is forgotten is far older.
    """
    if hybrid.jumped_ms:
        return "its clock has jumped"
    ahead_s = hybrid.went_ahead_s(after_s)
    if ahead_s > after_s * (1 - BEHIND):
        sometimes("an owner refuses a watermark soon after a step of its clock")
        return (
            f"its clock was set forwards by {ahead_s:,.0f} s within the last {after_s:,.0f} s; all clocks "
            "may have been set wrong alike"
        )
    return ""


class PurgeServing:
    def __init__(
        self,
        start: Start,
        *,
        routes: Routes,
        engine: Engine,
        objects: ObjectStore,
        hints: HintStore,
        watermarks: Watermarks,
        hybrid: HybridClock,
        after_s: float,
        may_owe: Callable[[PartitionId], bool],
    ) -> None:
        """`may_owe`: whether a former copy of the partition may wait here to be brought (rule M6)."""
        self._start = start
        self._routes = routes
        self._engine = engine
        self._objects = objects
        self._hints = hints
        self._watermarks = watermarks
        self._hybrid = hybrid
        self._after_s = after_s
        self._may_owe = may_owe
        self._notes = 0  # since the start

    def handlers(self) -> Mapping[str, Handler]:
        return {
            NOTE: self.note,
            KEEP: self.keep,
            SETTLE: self.settle,
            FATE: self.fate,
            VOUCH: self.vouch,
        }

    async def note(self, incoming: Incoming) -> bytes:
        asked = AskNote.decode(incoming.body)
        rows: dict[PartitionId, Row | str] = {}
        for partition, row_epoch in asked.partitions:
            row = await self._row(partition, asked.epoch, incoming.sender)
            is_same = isinstance(row, str) or row.row_epoch == row_epoch
            rows[partition] = row if is_same else "its owners have changed"
        await self._hints.wait_synced()  # what was struck off must not be back after a power cut
        complaint = self._complaint(asked.watermark) or self._hints_complaint(asked.epoch)
        hinted = self._hints.partitions()
        answers = []
        for partition, row in rows.items():
            why = (
                row
                if isinstance(row, str)
                else complaint or self._refusal(partition, row, asked.watermark, hinted)
            )
            answers.append(("", why) if why else (self._written_down(partition, row, asked), ""))  # type: ignore[arg-type]
        return NoteAnswer(tuple(answers)).encode()

    async def _row(
        self, partition: PartitionId, epoch: Epoch, sender: NodeId, *, is_owner: bool = True
    ) -> Row | str:
        find = self._routes.row_of if is_owner else self._routes.row_at
        try:
            return await find(partition, epoch, sender=sender)
        except RingmillError as error:
            return f"{error.code}: {error.message}"

    def _complaint(self, watermark: HybridTime) -> str:
        """Why this node takes part in no attempt for this watermark; "" when it may."""
        if not self._after_s:
            return "deletes are never forgotten there (--purge-after off)"
        if why := clock_complaint(self._hybrid, self._after_s):
            return why
        if millis(watermark) > self._hybrid.wall_ms() - self._after_s * 1000 * BEHIND:
            sometimes("an owner refuses a watermark that is too young by its clock")
            return "the watermark is too young by its clock"
        return ""

    def _hints_complaint(self, epoch: Epoch) -> str:
        """Why this node cannot say which partitions hints wait for, to a leader that knows this epoch."""
        if self._routes.is_sloppy_after(epoch):
            return "it knows of a newer topology"  # so others may have to vouch who are not asked
        prefix = kind_prefix(Kind.HINT)
        if self._engine.may_lack(prefix, prefix_end(prefix)):
            return "hints there may be damaged"
        return ""

    def _refusal(
        self, partition: PartitionId, row: Row, watermark: HybridTime, hinted: set[PartitionId]
    ) -> str:
        present = self._watermarks.of(partition)
        if present.kept.attempt:
            return "an earlier attempt is not settled yet"
        if watermark <= present.proven:
            return "the watermark is behind what is proven already"
        if partition in hinted:
            sometimes("hints hold back a watermark")
            return "hints wait there for another owner"
        if self._may_owe(partition):
            return OWED
        return self._untold(partition, row, "damaged, or not counted yet")

    def _untold(self, partition: PartitionId, row: Row, usual: str) -> str:
        """Why this node cannot tell what its copy holds; "" when it can."""
        copy = self._routes.copy_of(partition, row)
        if known_sums(self._engine, self._objects, copy) is not None:
            return ""
        return DROPPED_THERE if copy in self._objects.gone.unswept else usual

    def _written_down(self, partition: PartitionId, row: Row, asked: AskNote) -> str:
        self._notes += 1
        token = f"{self._start.number}.{self._start.boot}.{self._notes}"
        note = Note(asked.attempt, asked.watermark, row.row_epoch, token)
        self._watermarks.of(partition).write_down(note)
        return token

    async def vouch(self, incoming: Incoming) -> bytes:
        """Vouch as a member that does not own a partition: no hint waits here that has counted in a write at
        or below the watermark, and none will (rule W7); nor is a former copy still to be brought (M6)."""
        asked = AskNote.decode(incoming.body)
        rows = [
            await self._row(partition, asked.epoch, incoming.sender, is_owner=False)
            for partition, _ in asked.partitions
        ]
        await self._hints.wait_synced()
        complaint, hinted = self._hints_complaint(asked.epoch), self._hints.partitions()
        refusals = []
        for (partition, row_epoch), row in zip(asked.partitions, rows, strict=True):
            why = row if isinstance(row, str) else complaint
            if not why and not isinstance(row, str) and row.row_epoch != row_epoch:
                why = "its owners have changed"
            if not why and partition in hinted:
                why = "hints wait there for an owner"
            if not why and self._may_owe(partition):
                why = OWED
            if not why:
                self._hints.vouch(partition, asked.watermark)
            refusals.append(why)
        return KeepAnswer(tuple(refusals)).encode()

    async def keep(self, incoming: Incoming) -> bytes:
        """Raises what storing raises: then it may or may not be kept, and the owners settle it later."""
        asked = AskKeep.decode(incoming.body)
        self._routes.check_partitions(partition for partition, _ in asked.partitions)
        refusals = []
        for partition, token in asked.partitions:
            row = await self._row(partition, asked.epoch, incoming.sender)
            watermark = self._watermarks.of(partition)
            if watermark.has_kept(asked.attempt):
                why = ""  # asked twice: whatever has changed since, it can no more be dead
            elif isinstance(row, str):
                why = row
            else:
                why = watermark.may_keep(asked.attempt, token, row.row_epoch)
                why = why or self._untold(partition, row, "damaged meanwhile")
            if why:
                watermark.give_up(asked.attempt)
            else:
                watermark.keep(asked.attempt)
            refusals.append(why)
        await self._objects.wait_synced()
        await self._watermarks.store()
        return KeepAnswer(tuple(refusals)).encode()

    async def settle(self, incoming: Incoming) -> bytes:
        outcome = Settle.decode(incoming.body)
        self._routes.check_partitions(outcome.partitions)
        watermarks = [self._watermarks.of(partition) for partition in outcome.partitions]
        changed = [watermark.record_fate(outcome.attempt, outcome.fate) for watermark in watermarks]
        if any(changed):
            await self._watermarks.store()
        return b""

    async def fate(self, incoming: Incoming) -> bytes:
        asked = AskFate.decode(incoming.body)
        self._routes.check_partitions(partition for partition, _ in asked.attempts)
        fates = [self._watermarks.of(partition).fate(attempt) for partition, attempt in asked.attempts]
        if Fate.OPEN in fates:  # it may be kept in memory only, as the disk refused it
            await self._watermarks.store()
        return Fates(tuple(fates)).encode()
