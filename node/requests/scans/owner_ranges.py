"""Asks owners for what they hold in one key range of a partition, until r have answered under one row epoch
(rule L1), of what they hold now or of the snapshot that a job reads (rule J27).

The nearest live ones first.  One that fails, as one with damage in the range does (rule L4), is replaced at
once, and one that is silent after a while.  An answer comes from the disk of its owner, and in pieces that do
not hold up its loop (node/replica/pages.py).
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from ringmill.cluster.errors import (
    NotFound,
    ProtocolMismatch,
    QuorumNotReached,
    RingmillError,
    WrongEpoch,
    reason_of,
)
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.quorum.tally import ReadTally
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.lone_value import lone_of
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.contracts import LivenessView
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import Page, ReadPage, ask_page
from ringmill.node.replica.snapshots.snapshot_serving import ReadSnapshotPage, ask_snapshot_page
from ringmill.node.replica.stored_key import (
    KEYSPACE_PREFIX_BYTES,
    Copy,
    Place,
    keyspace_prefix,
    prefix_end,
)
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.owners.nearest import nearest_first
from ringmill.node.requests.scans.merging import OwnerRange

__all__ = ["KeyRange", "OwnerRanges"]

STALL_S: Final = 0.3
"""After this silence of an owner another one is asked, too.  A page is read in a few milliseconds from memory
and in a few tens from a cold disk.  Chosen, not measured."""
TURN: Final = 64
"""Objects checked in one turn of the loop: about 1 ms."""


class KeyRange(NamedTuple):
    """Keys from `low` on and before `high` of one keyspace in one partition; an empty `high` has no bound."""

    partition: PartitionId
    keyspace: KeyspaceId
    low: bytes
    high: bytes
    snapshot: str = ""  # the name of what the owners hold for a job; empty for what they hold now

    def request(self, epoch: Epoch) -> ReadPage:
        prefix = keyspace_prefix(self.keyspace)
        end = prefix + self.high if self.high else prefix_end(prefix)
        return ReadPage(epoch, self.partition, prefix + self.low, end)


class OwnerRanges:
    def __init__(
        self, node: NodeId, *, transport: Transport, objects: ObjectStore, liveness: LivenessView
    ) -> None:
        self._node = node
        self._transport = transport
        self._objects = objects
        self._liveness = liveness

    async def read(
        self, wanted: KeyRange, row: Row, epoch: Epoch, r: int, deadline: Deadline
    ) -> dict[NodeId, OwnerRange]:
        """The answers of `r` owners of the row, as it is in `epoch`.

        Raises QuorumNotReached, which names the owners that answered and why the others did not; NotFound
        when too many of them have lost a snapshot (rule J27).
        """
        tally = ReadTally(r, nearest_first(self._liveness, self._node, row.readers), row.row_epoch)
        answers: dict[NodeId, OwnerRange] = {}
        without: set[NodeId] = set()  # their snapshot is gone, and does not come back
        asking: dict[asyncio.Task[OwnerRange], NodeId] = {}
        request = wanted.request(epoch)
        try:
            while not tally.is_met:
                for node in tally.next_to_ask():
                    asked = self._ask(node, wanted, request, row, deadline)
                    asking[asyncio.create_task(asked, name="scan-owner")] = node
                if tally.is_lost:
                    if not row.is_joint and len(row.readers) - len(without) < r:
                        raise _gone(wanted.snapshot, tally)
                    raise _lost(tally, deadline)
                if not await _hear(tally, answers, without, asking, deadline):
                    if deadline.left_s <= 0:
                        raise _lost(tally, deadline)
                    sometimes("a scan replaces a silent owner")
                    tally.record_stall()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return answers

    async def _ask(
        self, node: NodeId, wanted: KeyRange, request: ReadPage, row: Row, deadline: Deadline
    ) -> OwnerRange:
        """Raises what the owner raised, and ProtocolMismatch for what it cannot hold."""
        page = await self._page(node, wanted, request, row, deadline)
        copy = Copy(wanted.partition, row.copy_epoch_of(self._node))
        objects: dict[bytes, bytes] = {}
        for number, (key, encoded) in enumerate(page.items, 1):
            if not request.start <= key < request.end:
                raise ProtocolMismatch(f"{node} told of a key that it was not asked for")
            place, lone = Place(copy, wanted.keyspace, key[KEYSPACE_PREFIX_BYTES:]), lone_of(encoded)
            if lone is None or not self._objects.has_made(place, lone):
                self._objects.check_made(place, decode_object(encoded))
            objects[place.key] = encoded
            if number % TURN == 0:
                await asyncio.sleep(0)
        return OwnerRange(objects, page.covered_to[KEYSPACE_PREFIX_BYTES:])

    async def _page(
        self, node: NodeId, wanted: KeyRange, request: ReadPage, row: Row, deadline: Deadline
    ) -> Page:
        if wanted.snapshot:
            read = ReadSnapshotPage(request, wanted.snapshot)
            return await ask_snapshot_page(self._transport, node, read, row, timeout_s=deadline.left_s)
        return await ask_page(
            self._transport, node, request, row, timeout_s=deadline.left_s, priority=Priority.BULK
        )


async def _hear(
    tally: ReadTally,
    answers: dict[NodeId, OwnerRange],
    without: set[NodeId],
    asking: dict[asyncio.Task[OwnerRange], NodeId],
    deadline: Deadline,
) -> bool:
    """Wait for the next answers or failures; False when there was none for too long."""
    left_s = deadline.left_s
    patience_s = min(STALL_S, deadline.allowed_s / 4, left_s) if tally.next_unasked is not None else left_s
    done, _ = await asyncio.wait(asking, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    for task in [task for task in asking if task in done]:
        node = asking.pop(task)
        try:
            answer = task.result()
        except RingmillError as error:
            sometimes("an owner cannot tell of a range that is scanned")
            tally.record_failure(node, reason_of(error))
            if isinstance(error, NotFound):
                without.add(node)
            tally.newer_epoch = max(tally.newer_epoch, WrongEpoch.epoch_of(error))
        else:
            tally.record_answer(node, tally.row_epoch)  # as ask_page has checked
            answers[node] = answer
    return bool(done)


def _gone(snapshot: str, tally: ReadTally) -> NotFound:
    sometimes("a snapshot is lost while a job reads it")
    why = "; ".join(f"{node}: {reason}" for node, reason in sorted(tally.reasons("no answer yet").items()))
    return NotFound(
        f"snapshot {snapshot} cannot be read any more: {why}",
        hint="run the job again: it takes a new one",
    )


def _lost(tally: ReadTally, deadline: Deadline) -> QuorumNotReached:
    sometimes("a scan does not meet its quorum")
    silent = f"no answer within {deadline.allowed_s:.2f} s" if deadline.left_s <= 0 else "no answer yet"
    reasons = tally.reasons(silent)
    return QuorumNotReached.of(
        "scan",
        tally.r,
        tally.answered,
        reasons,
        outcome="failed",
        newer_epoch=tally.newer_epoch,
        is_late=deadline.left_s <= 0,
    )
