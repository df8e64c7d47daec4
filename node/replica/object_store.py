"""The versioned objects of this node, on its engine: read, merge and write of one key as one step.

There is no await between reading the present object and applying the changed one, so writers of one key need
no lock.  When the value must be read from the disk, the block is fetched first and the step begins again.
node/requests decides who may write and what the client is told.  Rules V1, V8 and V9:
docs/protocol/versions.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, ProtocolMismatch, RingmillError
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextToken
from ringmill.cluster.versions.hybrid_time import ZERO, HybridClock, HybridTime
from ringmill.cluster.versions.lone_value import LoneValue, lone_of, overwritten, replaces
from ringmill.cluster.versions.mergeable import Update, after_update
from ringmill.cluster.versions.object_codec import decode_object, encode_object, holds_value
from ringmill.cluster.versions.objects import (
    OperationId,
    Sibling,
    StoredObject,
    merge,
    merge_all,
    supersede,
)
from ringmill.cluster.versions.seen import Needed
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.object_batch import Admission, Applied, Kept, ObjectBatch, decoded
from ringmill.node.replica.stepping import change, fetch
from ringmill.node.replica.stored_key import Kind, Place, kind_prefix, parse_object_key, prefix_end
from ringmill.node.replica.watching.change_feed import ChangeFeed
from ringmill.node.replica.watching.waiters import Waiters
from ringmill.node.storage.engine import Commit, Engine, Told

__all__ = ["Intent", "NotCaughtUp", "ObjectStore", "Written", "hold", "tell_held"]

HEAL_TURN: Final = 64
SCAN_TURN: Final = 1024
"""Keys healed, and keys skipped, in one turn of the loop: about 5 ms."""

REPLACED: Final = (
    "another attempt of this write was applied and has been replaced since, so it is not applied again"
)
CANNOT_TELL: Final = (
    "an earlier attempt of this write may have been applied and superseded since, so it is not applied again"
)
REPLACED_HINT: Final = "get the key to see what it holds now"

_log = logging.getLogger(__name__)


class Intent(NamedTuple):
    """What a client wants written.  `context` None overwrites what this copy knows; value None deletes.

    An `update` says itself what it replaces and what its value is: then there is neither of the two.
    """

    value: bytes | None
    operation: OperationId
    context: ContextToken | None = None
    ttl_ms: int = 0  # from the step that applies it on; 0: never expires
    is_retry: bool = False
    needed: Needed | None = None  # what its session has seen; means nothing beside a context
    update: Update | None = None
    kept: Kept | None = None  # of a touch, which finds its value


class NotCaughtUp(Exception):
    """A write's session has seen what this copy has not, and a context cannot name it (rule S2)."""


@dataclass(slots=True)
class Written:
    """A write this copy coordinated.  `is_repeat`: the operation was there before, nothing was changed."""

    applied: Applied
    sibling: Sibling
    is_repeat: bool


class ObjectStore:
    """All objects of the node, in all its copies."""

    def __init__(
        self,
        engine: Engine,
        *,
        actors: CopyActors,
        clock: HybridClock,
        options: ReplicaOptions,
        feed: ChangeFeed,
    ) -> None:
        self._engine = engine
        self._actors = actors
        self._clock = clock
        self._options = options
        self._unsynced: dict[bytes, Commit] = {}
        self._commits: deque[tuple[Commit, list[bytes]]] = deque()  # with their keys, until they are synced
        self._touched: set[bytes] | None = None  # keys changed since a healing has read what survived
        self._keys = 0
        self._size_bytes = 0
        self._count_wanted = asyncio.Event()
        self._count_wanted.set()
        self.is_counted = False
        self.sums = CopySums()
        self.changes = 0  # of objects, since the start
        self.waiters = Waiters()
        self.feed = feed

    @property
    def keys(self) -> int:
        """Keys with a value; those found so far until `is_counted`."""
        return max(0, self._keys)

    @property
    def size_bytes(self) -> int:
        """Bytes of keys and objects, likewise."""
        return max(0, self._size_bytes)

    async def read(self, place: Place) -> StoredObject:
        """The present object, or ABSENT.  Raises CorruptData, Unavailable."""
        return decoded(await fetch(self._engine, place.stored_key))

    async def read_synced(self, place: Place) -> bytes:
        """The object's bytes, empty when there is none, once this node cannot forget it (rule G2)."""
        encoded = await fetch(self._engine, key := place.stored_key)
        if (commit := self._unsynced_commit(key)) is not None:
            await commit.synced()
        return encoded or b""

    def read_now(self, place: Place) -> tuple[bytes, Commit | None]:
        """The bytes of an object, b"" when there is none, and what to wait for before they may be shown.

        Raises NotCached when the disk is needed, CorruptData, OSError.
        """
        key = place.stored_key
        encoded = self._engine.get_nowait(key)
        return encoded or b"", self._unsynced_commit(key)

    def _unsynced_commit(self, key: bytes) -> Commit | None:
        """What a reader of this key has to wait for."""
        commit = self._unsynced.get(key)
        if commit is None or commit.is_synced:
            return None
        sometimes("a read waits for the disk")
        return commit

    def check_made(self, place: Place, told: StoredObject) -> None:
        """Raises ProtocolMismatch for an object with a dot that this start has not given yet.

        Such an object is forged or damaged, and would hide the write that gets this dot later (rule V8).
        """
        if forged := self._actors.never_made(place.copy, told.context):
            raise ProtocolMismatch(f"an object names write {forged}, which this node has not made")

    def has_made(self, place: Place, told: LoneValue) -> bool:
        """Whether `check_made` lets the object of this value pass."""
        return self._actors.has_made(place.copy, told.vector)

    @property
    def takes_batches(self) -> bool:
        """The engine takes changes without a wait."""
        return self._engine.is_writable

    def apply_into(self, batch: ObjectBatch, place: Place, told: bytes) -> Applied:
        """Merge an object in as part of a batch; `told` are its bytes.

        One value that was written over the one here is stored as it came, undecoded.  Raises NotCached when
        the disk is needed to know the present object; else as `apply`.
        """
        key = place.stored_key
        pending, encoded = batch.pending(key), None
        if pending is None:
            encoded, theirs = self._engine.get_nowait(key), lone_of(told)
            if theirs is not None and self.has_made(place, theirs):
                ours = None if encoded is None else lone_of(encoded)
                if encoded is None or (ours is not None and replaces(theirs, ours)):
                    sometimes("an object is stored as it came")
                    self._clock.observe(theirs.time)
                    return batch.put(key, encoded, Applied(None, told), encoded is None)
        incoming = decode_object(told)
        self.check_made(place, incoming)
        self._clock.observe(incoming.newest)
        if pending is None:
            return self._merge(batch, key, decoded(encoded), encoded, incoming, told)
        merged = merge(pending.stored, incoming)
        if merged == pending.stored:
            return batch.unchanged(pending)
        return batch.store(key, pending.stored, pending.encoded, merged)

    async def apply(self, place: Place, incoming: StoredObject) -> Applied:
        """Merge an object in.

        A late or repeated object changes nothing; its commit still waits until it is durable.

        Raises ProtocolMismatch for an object with a dot that this node has not given, CorruptData;
        Overloaded, Unavailable and DiskFull when the engine accepts no writes.
        """
        self.check_made(place, incoming)
        self._clock.observe(incoming.newest)
        key = place.stored_key

        def step(encoded: bytes | None) -> Applied:
            batch = ObjectBatch()
            applied = self._merge(batch, key, decoded(encoded), encoded, incoming)
            self.commit(batch)
            return applied

        return await change(self._engine, key, step)

    def _merge(
        self,
        batch: ObjectBatch,
        key: bytes,
        present: StoredObject,
        encoded: bytes | None,
        incoming: StoredObject,
        told: bytes | None = None,
    ) -> Applied:
        merged = merge(present, incoming)
        if merged is incoming and merged != present:
            return batch.store(key, present, encoded, merged, encoded=told)  # stored as it came
        if merged == present:
            sometimes("a late copy changes nothing")
            return Applied(present, encoded or b"", self._unsynced.get(key))
        return batch.store(key, present, encoded, merged)

    def commit(self, batch: ObjectBatch) -> Commit | None:
        """Make a batch visible, all of it at once; None for one that changes nothing.

        Raises Overloaded, DiskFull, StorageFailed: then nothing was changed.
        """
        if not batch.changes:
            return None
        commit = self._engine.apply(batch.for_engine())
        batch.committed(commit)
        self._commits.append((commit, list(batch.changes)))
        for key, changed in batch.changes.items():
            self._unsynced[key] = commit
            self._keys += changed.new_values
            old, new = changed.old, changed.applied.encoded
            self._size_bytes += len(new) + (len(key) if old is None else -len(old))
            self.sums.change(key, old, new)
        if self._touched is not None:
            self._touched.update(batch.changes)
        self.changes += len(batch.changes)
        if self.waiters.are_there:
            self.waiters.wake(batch.changes)
        if self.feed.is_on:
            self.feed.note(batch.changes)
        self._forget_synced()
        return commit

    async def wait_synced(self) -> None:
        """Return once everything that was applied before the call is durable."""
        if self._commits:
            await self._commits[-1][0].synced()

    async def heal(self, start: bytes, end: bytes, found: Mapping[bytes, Sequence[bytes]]) -> None:
        """Merge the copies of other owners into what survived in a damaged range; durable on return.

        `found` is by stored key and complete for [start, end).  What survived may be older than what was
        lost, so no key of the range may be read until all of `found` is merged in; each key becomes readable
        as it is written here (rule H6).  Raises what `apply` raises.
        """
        touched: set[bytes] = set()
        self._touched = touched
        self.sums.forget(start)
        try:
            survivors: dict[bytes, bytes] = {}
            async with aclosing(self._engine.survivors(start, end)) as scan:
                passed = 0
                async for key, encoded in scan:
                    if key in found:
                        survivors[key] = encoded
                    passed += 1
                    if passed % SCAN_TURN == 0:
                        await asyncio.sleep(0)
            for number, (key, copies) in enumerate(found.items(), 1):
                await self._engine.wait_writable()
                if key in touched:  # a client has written it since, so it is readable and merged as usual
                    sometimes("a key is written while its range is healed")
                    await self.apply(parse_object_key(key), _merged(copies))
                else:
                    self._put_healed(key, survivors.get(key), copies)
                if number % HEAL_TURN == 0:
                    await asyncio.sleep(0)
            await self.wait_synced()
        finally:
            self._touched = None

    def _put_healed(self, key: bytes, survivor: bytes | None, copies: Sequence[bytes]) -> None:
        incoming, place = _merged(copies), parse_object_key(key)
        self.check_made(place, incoming)
        self._clock.observe(incoming.newest)
        present, batch = decoded(survivor), ObjectBatch()
        batch.store(key, present, survivor, merge(present, incoming))
        self.commit(batch)

    def write_into(self, batch: ObjectBatch, place: Place, intent: Intent, admit: Admission) -> Written:
        """As `write`, as part of a batch.  Raises NotCached when the disk is needed, too."""
        key = place.stored_key
        if (pending := batch.pending(key)) is None:
            encoded = self._engine.get_nowait(key)
            is_plain = intent.needed is None and intent.update is None
            if intent.context is None and intent.value is not None and is_plain:
                seen = None if encoded is None else lone_of(encoded)
                is_other = seen is not None and not seen.knows(intent.operation)
                if encoded is None or (seen is not None and is_other and self.has_made(place, seen)):
                    return self._overwrite(batch, place, key, seen, encoded, intent, admit)
            return self._write(batch, place, key, decoded(encoded), encoded, intent, admit)
        known = pending.stored.find(intent.operation)
        if known is not None:
            return Written(batch.unchanged(pending), known, is_repeat=True)
        return self._write(batch, place, key, pending.stored, pending.encoded, intent, admit)

    async def write(self, place: Place, intent: Intent, admit: Admission) -> Written:
        """Coordinate a client's write: it gets a new dot and stamp and replaces what its context covers (V1).

        An operation that was already applied is not written again (V4).  Raises what `admit` and `apply`
        raise; InvalidArgument for a context with dots that this copy never gave; Unavailable (nothing
        happened) after a clock jump; NotCaughtUp, likewise, for a session; DeadlineExceeded (unknown) for an
        operation that was applied by another of its attempts and has been replaced, and for a later attempt
        of one that may have been.
        """
        key = place.stored_key

        def step(encoded: bytes | None) -> Written:
            batch = ObjectBatch()
            written = self._write(batch, place, key, decoded(encoded), encoded, intent, admit)
            self.commit(batch)
            return written

        return await change(self._engine, key, step)

    def _write(
        self,
        batch: ObjectBatch,
        place: Place,
        key: bytes,
        present: StoredObject,
        encoded: bytes | None,
        intent: Intent,
        admit: Admission,
    ) -> Written:
        known = present.find(intent.operation)
        if known is not None:
            commit = self._unsynced.get(key)
            return Written(Applied(present, encoded or b"", commit), known, is_repeat=True)
        if present.has_replaced(intent.operation):
            raise DeadlineExceeded(REPLACED, hint=REPLACED_HINT, outcome="unknown")
        if intent.is_retry and present.forgets_since(intent.operation):
            # A majority was asked before (operations/write_retries.py), but this write has waited since.
            raise DeadlineExceeded(CANNOT_TELL, hint=REPLACED_HINT, outcome="unknown")
        if intent.update is not None:
            sibling = self._sibling(place, intent, present.newest)
            stored = after_update(present, intent.update, sibling, self._clock.expiry_ms())
            written = next(one for one in stored.siblings if one.dot == sibling.dot)
            return Written(batch.store(key, present, encoded, stored, admit), written, is_repeat=False)
        context = intent.context or _known(present, intent.needed)
        if (forged := self._actors.never_made(place.copy, context.vector)) is not None:
            raise InvalidArgument(
                f"the context names write {forged}, which this node has not made",
                hint="get the key and hand back that answer's context",
            )
        if intent.kept is not None:
            intent = intent._replace(value=intent.kept(present, self._clock.expiry_ms()))
        sibling = self._sibling(place, intent, context.time)
        stored = supersede(present, context.vector, sibling)
        return Written(batch.store(key, present, encoded, stored, admit), sibling, is_repeat=False)

    def _overwrite(
        self,
        batch: ObjectBatch,
        place: Place,
        key: bytes,
        present: LoneValue | None,
        encoded: bytes | None,
        intent: Intent,
        admit: Admission,
    ) -> Written:
        """As `_write`, in the usual case: a value without a context in the place of one value, or of none."""
        sibling = self._sibling(place, intent, ZERO if present is None else present.time)
        changed = overwritten(present, sibling)
        told = encode_object(changed)
        admit(encoded is not None, 1, len(told))
        applied = batch.put(key, encoded, Applied(changed, told), encoded is None)
        return Written(applied, sibling, is_repeat=False)

    async def keep_counted(self) -> None:
        """Count what is stored, again whenever `count_again` asks for it, until cancelled."""
        while await self._count_wanted.wait():
            self._count_wanted.clear()
            await self.count_stored()

    def count_again(self) -> None:
        """Count again, because damage has hidden keys and the figures may be wrong."""
        self._count_wanted.set()

    async def count_stored(self) -> None:
        """Count keys and bytes once, in the background; later writes keep them up to date.

        One count at a time.

        A million objects take half a minute, in slices between which requests are served.  Unreadable data
        ends the count, and the figures are then too low: they are only for people, so a node must not fail
        for them.
        """
        self._keys = self._size_bytes = 0
        self.is_counted = False
        self.sums.begin()
        prefix = kind_prefix(Kind.OBJECT)
        with self._engine.snapshot() as snapshot:  # no await before: later changes count themselves
            scan = self._engine.scan(prefix, prefix_end(prefix), snapshot=snapshot)
            try:
                async with aclosing(scan):
                    await self._count(scan)
                self.sums.end()
            except (RingmillError, OSError) as error:
                _log.warning("keys and bytes are counted only up to the first unreadable data: %s", error)
        self.is_counted = True

    async def _count(self, scan: AsyncIterator[tuple[bytes, bytes]]) -> None:
        """The scan itself never waits while its blocks are cached, so the pause is made here."""
        in_slice = 0
        async for key, encoded in scan:
            self._keys += holds_value(encoded)
            self._size_bytes += len(key) + len(encoded)
            self.sums.add(key, encoded)
            in_slice += 1
            if in_slice == self._options.count_slice:
                in_slice = 0
                await asyncio.sleep(self._options.count_pause_s)

    def _sibling(self, place: Place, intent: Intent, seen: HybridTime) -> Sibling:
        # The birth, too: what one client writes after an answer is newer than what that answer told of (V2).
        time = self._clock.stamp(above=max(seen, intent.operation.birth))
        dot = self._actors.next_dot(place.copy)
        expires_at_ms = 0
        if intent.ttl_ms and intent.value is not None:  # no clock of others is consulted here (rule G3)
            expires_at_ms = self._clock.expiry_ms() + intent.ttl_ms
        return Sibling(dot, intent.value, time, intent.operation, expires_at_ms, intent.is_retry)

    def _forget_synced(self) -> None:
        commits, unsynced = self._commits, self._unsynced
        while commits and commits[0][0].is_synced:
            commit, keys = commits.popleft()
            for key in keys:
                if unsynced.get(key) is commit:  # else it was written again
                    del unsynced[key]


async def hold(commit: Commit | None, durability: Durability) -> None:
    """Return once an applied write has this durability (rule W2).

    Raises Unavailable or DiskFull when it cannot be.
    """
    if commit is None or durability is Durability.MEMORY:
        return
    if durability is Durability.BUFFERED:
        await commit.buffered()
    else:
        await commit.synced()


def tell_held(commit: Commit | None, durability: Durability, told: Told) -> None:
    """The same without waiting: `told` None or what `hold` raises, perhaps before this returns."""
    if commit is None or durability is Durability.MEMORY:
        told(None)
    elif durability is Durability.BUFFERED:
        commit.tell_buffered(told)
    else:
        commit.tell_synced(told)


def _known(present: StoredObject, needed: Needed | None) -> ContextToken:
    """The context of a write that has none of its own.  Raises NotCaughtUp."""
    if needed is None:
        return ContextToken(present.context, present.newest)
    known = needed.known_with(present)
    if known is None:
        raise NotCaughtUp
    return known


def _merged(copies: Iterable[bytes]) -> StoredObject:
    """Equal ones are decoded once."""
    return merge_all(decode_object(encoded) for encoded in dict.fromkeys(copies))
