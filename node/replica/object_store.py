"""The versioned objects of this node, on its engine: read, merge and write of one key as one step.

There is no await between reading the present object and applying the changed one, so writers of one key need
no lock.  When the value must be read from the disk, the block is fetched first and the step begins again.
node/requests decides who may write and what the client is told.  Rules V1, V8 and V9:
docs/protocol/versions.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextToken
from ringmill.cluster.versions.dead import without_stale
from ringmill.cluster.versions.hybrid_time import ZERO, HybridClock, HybridTime
from ringmill.cluster.versions.lone_value import LoneValue, lone_of, overwritten, replaces
from ringmill.cluster.versions.mergeable import Update, after_update
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject, merge, merge_all, supersede
from ringmill.cluster.versions.seen import Needed
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.comparing.stored_count import StoredCount
from ringmill.node.replica.object_batch import Admit, Applied, Growth, ObjectBatch, Present, TouchedValue
from ringmill.node.replica.purging.gone_keyspaces import GoneKeyspaces
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stepping import change, fetch
from ringmill.node.replica.stored_key import Place, parse_copy, parse_object_key
from ringmill.node.replica.watching.change_feed import ChangeFeed
from ringmill.node.replica.watching.waiters import Waiters
from ringmill.node.replica.watching.written_keys import WrittenKeys
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Commit, Engine

__all__ = ["Intent", "NotCaughtUp", "ObjectStore", "Written"]

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


class Intent(NamedTuple):
    """What a client wants written.  `context` None overwrites what this copy knows; value None deletes.

    An `update` says itself what it replaces and what its value is: then there is neither of the two.
    """

    value: bytes | None
    operation: OperationId
    context: ContextToken | None = None
    ttl_ms: int = 0  # from the step that applies it on; 0: never expires
    is_retry: bool = False
    needed: Needed | None = None  # what its session has seen, or a context that may be cut (rule V12)
    update: Update | None = None
    touched_value: TouchedValue | None = None  # set for a touch, which keeps the present value


class NotCaughtUp(Exception):
    """What is `held` by this copy lacks what a write's context cannot name (rules S2 and V12)."""

    def __init__(self, held: StoredObject) -> None:
        self.held = held


@dataclass(slots=True)
class Written:
    """A write this copy coordinated.  `is_repeat`: the operation was there before, nothing was changed."""

    applied: Applied
    sibling: Sibling
    is_repeat: bool


class ObjectStore(StoredCount):
    """All objects of the node, in all its copies."""

    def __init__(
        self,
        engine: Engine,
        *,
        actors: CopyActors,
        clock: HybridClock,
        options: ReplicaOptions,
        feed: ChangeFeed,
        watermarks: Watermarks | None = None,
        gone: GoneKeyspaces | None = None,
    ) -> None:
        super().__init__(engine, options)
        self.gone = gone or GoneKeyspaces(NodeId(""))
        self._watermarks = watermarks or Watermarks()
        self._actors = actors
        self._clock = clock
        self._unsynced: dict[bytes, Commit] = {}
        self._commits: deque[tuple[Commit, list[bytes]]] = deque()  # with their keys, until they are synced
        self.written = WrittenKeys()
        self.changes = 0  # of objects, since the start
        self.heals = 0  # of damaged ranges, since the start
        self.forgotten = 0  # objects, since the start
        self.waiters = Waiters()
        self.feed = feed

    def watermark_of(self, place: Place) -> HybridTime:
        """At or below this time, what was deleted may have been forgotten here."""
        return self._watermarks.proven(place.copy.partition)

    async def read(self, place: Place) -> StoredObject:
        """The present object, or ABSENT.  Raises CorruptData, Unavailable."""
        return Present(await fetch(self._engine, place.stored_key)).stored

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
        return encoded or b"", self._unsynced_commit(key) if key in self._unsynced else None

    def _unsynced_commit(self, key: bytes) -> Commit | None:
        """What a reader of this key has to wait for."""
        commit = self._unsynced.get(key)
        if commit is None or commit.is_synced:
            return None
        sometimes("a read waits for the disk")
        return commit

    def check_made(self, place: Place, stored: StoredObject) -> None:
        """Raises ProtocolMismatch for an object with a dot that this start has not given yet.

        Such an object is forged or damaged, and would hide the write that gets this dot later (rule V8).
        """
        if forged := self._actors.never_made(place.copy, stored.context):
            raise ProtocolMismatch(f"an object names write {forged}, which this node has not made")

    def has_made(self, place: Place, lone: LoneValue) -> bool:
        """Whether `check_made` lets the object of this value pass."""
        return self._actors.has_made(place.copy, lone.vector)

    @property
    def takes_batches(self) -> bool:
        """The engine takes changes without a wait."""
        return self._engine.is_writable

    def apply_into(self, batch: ObjectBatch, place: Place, encoded: bytes) -> Applied:
        """Merge what an owner holds in as part of a batch; `encoded` are the object's bytes.

        One value that was written over the one here is stored as it came, undecoded.  Raises NotCached when
        the disk is needed to know the present object; else what `apply` raises.
        """
        key = place.stored_key
        pending, present = batch.pending(key), Present(None)
        if pending is None:
            present, theirs = Present(self._engine.get_nowait(key)), lone_of(encoded)
            watched = self._watermarks.watched(place.copy.partition)
            if theirs is not None and theirs.time > watched and self.has_made(place, theirs):
                ours = None if present.encoded is None else lone_of(present.encoded)
                if present.encoded is None or (ours is not None and replaces(theirs, ours)):
                    sometimes("an object is stored as it came")
                    self._clock.observe(theirs.time)
                    if theirs.expires_at_ms:
                        self.dead.dead_from(key, theirs.expires_at_ms)
                    return batch.put(key, present.encoded, Applied(None, encoded), present.encoded is None)
        incoming = decode_object(encoded)
        self.check_made(place, incoming)
        self._clock.observe(incoming.newest)
        if pending is None:
            return self._merge(batch, place, present, incoming, of_owner=True, encoded=encoded)
        self._watermarks.judge(place, pending.stored, incoming, "", of_owner=True)
        merged = merge(pending.stored, incoming)
        if merged == pending.stored:
            return batch.unchanged(pending)
        self._note_expiries(key, incoming)
        return batch.store(key, Present(pending.encoded, pending.stored), merged)

    async def apply(
        self, place: Place, incoming: StoredObject, attempt: str = "", *, of_owner: bool = False
    ) -> Applied:
        """Merge an object in; `attempt` and `of_owner` as in Watermarks.judge.

        A late or repeated one changes nothing; its commit still waits until it is durable.  Raises Stale,
        ProtocolMismatch for an object with a dot that this node has not given, CorruptData; Overloaded,
        Unavailable and DiskFull when the engine accepts no writes.
        """
        self.check_made(place, incoming)
        self._clock.observe(incoming.newest)

        def step(encoded: bytes | None) -> Applied:
            self.gone.check(place.keyspace)
            batch = ObjectBatch()
            applied = self._merge(
                batch, place, Present(encoded), incoming, attempt=attempt, of_owner=of_owner
            )
            self.commit(batch)
            return applied

        return await change(self._engine, place.stored_key, step)

    def _merge(
        self,
        batch: ObjectBatch,
        place: Place,
        present: Present,
        incoming: StoredObject,
        *,
        attempt: str = "",
        of_owner: bool,
        encoded: bytes | None = None,
    ) -> Applied:
        """Merge an object in; `encoded` are its bytes where they are known."""
        key = place.stored_key
        self._watermarks.judge(place, present.stored, incoming, attempt, of_owner=of_owner)
        merged = merge(present.stored, incoming)
        if present.encoded is None and self._watermarks.forgets(place, merged):
            sometimes("a delete that is forgotten already is not taken again")
            return Applied(present.stored, b"", self._unsynced.get(key))
        if merged == present.stored:
            sometimes("a late copy changes nothing")
            return Applied(present.stored, present.encoded or b"", self._unsynced.get(key))
        self._note_expiries(key, incoming)
        # Stored as it came where nothing of the present one is left.
        return batch.store(key, present, merged, encoded=encoded if merged is incoming else None)

    def _note_expiries(self, key: bytes, incoming: StoredObject) -> None:
        for sibling in incoming.siblings:
            if sibling.expires_at_ms:
                self.dead.dead_from(key, sibling.expires_at_ms)

    def commit(self, batch: ObjectBatch) -> Commit | None:
        """Make a batch visible, all of it at once; None for one that changes nothing.

        Raises Overloaded, DiskFull, StorageFailed: then nothing was changed.
        """
        if not batch.changes:
            return None
        commit = self._engine.apply(batch.for_engine())
        batch.note_commit(commit)
        self._commits.append((commit, list(batch.changes)))
        for key, changed in batch.changes.items():
            self._unsynced[key] = commit
            self.note_changed(key, changed.old, changed.applied.encoded, changed.new_values)
        self.written.add(batch.changes)
        self.changes += len(batch.changes)
        if self.waiters.are_there:
            self.waiters.wake(batch.changes)
        if self.feed.is_on:
            self.feed.note(batch.changes)
        self._forget_synced()
        return commit

    async def wait_synced(self, *, is_urgent: bool = True) -> None:
        """Return once all that was applied before is durable; `is_urgent` as in Commit.synced."""
        if self._commits:
            await self._commits[-1][0].synced(is_urgent=is_urgent)

    async def forget(self, dead: Iterable[tuple[Place, bytes]]) -> int:
        """Remove objects that are dead at their partition's watermark, if they still are what was read;
        permanently once the engine has merged its tables.  Returns how many (rule P1).  Raises as `apply`."""
        gone = 0
        for place, read in dead:
            key = place.stored_key

            def step(
                encoded: bytes | None, place: Place = place, key: bytes = key, read: bytes = read
            ) -> bool:
                if encoded != read or self.gone.has(place.keyspace):
                    return False
                if not self._watermarks.forgets(place, decode_object(read)):
                    return False
                batch = Batch()
                batch.delete(key)
                self._engine.apply(batch, frees_space=True)
                self.note_forgotten(key, read)
                self.forgotten += 1
                return True

            gone += await change(self._engine, key, step, frees_space=True)
        if gone:
            sometimes("a delete is forgotten")
        return gone

    async def heal(
        self, start: bytes, end: bytes, found: Mapping[bytes, Sequence[bytes]], *, knows_deletes: bool = True
    ) -> None:
        """Merge the copies of other owners into what survived in a damaged range; durable on return.

        `found` is by stored key and complete for [start, end).  What survived may be older than what was
        lost, so no key of the range may be read until all of it is merged in; each key becomes readable as
        it is written (rule H6).  `knows_deletes`: some owner was whole.  Raises what `apply` raises.
        """
        self.sums.forget(start)
        self.heals += 1
        self._watermarks.void_all([parse_copy(start).partition])
        with self.written.noted() as touched:
            survivors, stale = await self._survivors(start, end, found, knows_deletes=knows_deletes)
            for number, (key, copies) in enumerate(found.items(), 1):
                await self._engine.wait_writable()
                if key in touched:  # a client has written it since, so it is readable and merged as usual
                    sometimes("a key is written while its range is healed")
                    await self.apply(parse_object_key(key), _merged(copies), of_owner=True)
                else:
                    self._put_healed(key, survivors.get(key), copies)
                if number % HEAL_TURN == 0:
                    await asyncio.sleep(0)
            await self._put_back(stale, touched)
            await self.wait_synced()

    async def _survivors(
        self, start: bytes, end: bytes, found: Mapping[bytes, Sequence[bytes]], *, knows_deletes: bool
    ) -> tuple[dict[bytes, bytes], dict[bytes, bytes | None]]:
        """What survived of the keys in `found`; and of other keys what is to stand in the place of what
        survived, None for nothing: a version that no other owner knows though it is at or below the watermark
        was deleted and forgotten, and what knew of that may have been lost with the range (rule P5)."""
        survivors, stale = dict[bytes, bytes](), dict[bytes, bytes | None]()
        async with aclosing(self._engine.survivors(start, end)) as scan:
            passed = 0
            async for key, encoded in scan:
                mark = self._watermarks.proven(parse_object_key(key).copy.partition)
                kept = encoded
                if mark and knows_deletes:
                    survivor = decode_object(encoded)
                    known = without_stale(survivor, _merged(found.get(key, ())), mark)
                    kept = encoded if known is survivor else encode_object(known) if known.siblings else b""
                if key in found and kept:
                    survivors[key] = kept
                elif key not in found and kept != encoded:
                    stale[key] = kept or None
                passed += 1
                if passed % SCAN_TURN == 0:
                    await asyncio.sleep(0)
        return survivors, stale

    async def _put_back(self, stale: Mapping[bytes, bytes | None], touched: Collection[bytes]) -> None:
        """Put what is left of survivors in their place, but where a client has written meanwhile."""
        batch = Batch()
        for key, kept in stale.items():
            if key not in touched and kept is None:
                batch.delete(key)
            elif key not in touched and kept is not None:
                batch.put(key, kept)
        if len(batch):
            await self._engine.wait_writable()
            await self._engine.apply(batch).synced()

    def _put_healed(self, key: bytes, survivor: bytes | None, copies: Sequence[bytes]) -> None:
        incoming, place = _merged(copies), parse_object_key(key)
        self.check_made(place, incoming)
        self._clock.observe(incoming.newest)
        present, batch = Present(survivor), ObjectBatch()
        batch.store(key, present, merge(present.stored, incoming))
        self.commit(batch)

    def write_into(self, batch: ObjectBatch, place: Place, intent: Intent, admit: Admit) -> Written:
        """Write what a client wants as part of a batch, without waiting.  Raises NotCached when the disk is
        needed; else what `write` raises."""
        key = place.stored_key
        if (pending := batch.pending(key)) is None:
            encoded = self._engine.get_nowait(key)
            is_plain = intent.needed is None and intent.update is None
            if intent.context is None and intent.value is not None and is_plain:
                lone = None if encoded is None else lone_of(encoded)
                is_other = lone is not None and not lone.knows(intent.operation)
                if encoded is None or (lone is not None and is_other and self.has_made(place, lone)):
                    return self._overwrite(batch, place, lone, encoded, intent, admit)
            return self._write(batch, place, Present(encoded), intent, admit)
        known = pending.stored.find(intent.operation)
        if known is not None:
            return Written(batch.unchanged(pending), known, is_repeat=True)
        return self._write(batch, place, Present(pending.encoded, pending.stored), intent, admit)

    async def write(self, place: Place, intent: Intent, admit: Admit) -> Written:
        """Coordinate a client's write: it gets a new dot and stamp and replaces what its context covers (V1).

        An operation that was already applied is not written again (V4).  Raises what `admit` and `apply`
        raise; InvalidArgument for a context with dots that this copy never gave; Unavailable after a clock
        jump, and NotCaughtUp for one that lacks what is `needed` (nothing happened); DeadlineExceeded
        (unknown) for an operation that was applied by another of its attempts and has been replaced, and for
        a later attempt of one that may have been.
        """

        def step(encoded: bytes | None) -> Written:
            self.gone.check(place.keyspace)
            batch = ObjectBatch()
            written = self._write(batch, place, Present(encoded), intent, admit)
            self.commit(batch)
            return written

        return await change(self._engine, place.stored_key, step)

    def _write(
        self, batch: ObjectBatch, place: Place, found: Present, intent: Intent, admit: Admit
    ) -> Written:
        key, present = place.stored_key, found.stored
        known = present.find(intent.operation)
        if known is not None:
            applied = Applied(present, found.encoded or b"", self._unsynced.get(key))
            return Written(applied, known, is_repeat=True)
        if present.has_replaced(intent.operation):
            raise DeadlineExceeded(
                REPLACED, detail={"earlier": "replaced"}, hint=REPLACED_HINT, outcome="unknown"
            )
        if intent.is_retry:
            proven = self._watermarks.proven(place.copy.partition)
            may_be_gone = 0 < intent.operation.birth <= proven  # rule P4
            if may_be_gone or present.forgets_since(intent.operation):
                # A majority was asked before (operations/write_retries.py), but this write has waited since.
                raise DeadlineExceeded(
                    CANNOT_TELL, detail={"earlier": "unknown"}, hint=REPLACED_HINT, outcome="unknown"
                )
        if intent.update is not None:
            sibling = self._sibling(place, intent, present.newest)
            stored = after_update(present, intent.update, sibling, self._clock.shared_expiry_ms())
            written = next(one for one in stored.siblings if one.dot == sibling.dot)
            applied = batch.store(key, found, stored, admit=admit, writer=sibling.dot.actor)
            return Written(applied, written, is_repeat=False)
        context = _known(present, intent)
        self._actors.admit(place.copy, present.context, context.vector)
        if intent.touched_value is not None:
            intent = intent._replace(value=intent.touched_value(present, self._clock.expiry_ms()))
        sibling = self._sibling(place, intent, context.time)
        stored = supersede(present, context.vector, sibling)
        if context.time > sibling.time:  # what it replaces may be forgotten only behind that (rule P1)
            stored = stored._replace(forgotten=HybridTime(max(stored.forgotten, context.time)))
        applied = batch.store(key, found, stored, admit=admit, writer=sibling.dot.actor)
        return Written(applied, sibling, is_repeat=False)

    def _overwrite(
        self,
        batch: ObjectBatch,
        place: Place,
        present: LoneValue | None,
        encoded: bytes | None,
        intent: Intent,
        admit: Admit,
    ) -> Written:
        """Write in the usual case: a value without a context in the place of one value, or of none.

        `encoded` are the bytes of the present object, None when there is none.
        """
        sibling = self._sibling(place, intent, ZERO if present is None else present.time)
        changed = overwritten(present, sibling)
        after = encode_object(changed)
        admit(Growth(int(encoded is not None), 1, 0, len(after)))
        applied = batch.put(place.stored_key, encoded, Applied(changed, after), encoded is None)
        return Written(applied, sibling, is_repeat=False)

    def _sibling(self, place: Place, intent: Intent, seen: HybridTime) -> Sibling:
        # The birth, too: what one client writes after an answer is newer than what that answer told of (V2).
        watched = self._watermarks.watched(place.copy.partition)
        time = self._clock.stamp(above=max(seen, intent.operation.birth), floor=watched)
        dot = self._actors.next_dot(place.copy)
        expires_at_ms = 0
        if intent.ttl_ms and intent.value is not None:  # no clock of others is consulted here (rule G3)
            expires_at_ms = self._clock.expiry_ms() + intent.ttl_ms
            self.dead.dead_from(place.stored_key, expires_at_ms)
        return Sibling(dot, intent.value, time, intent.operation, expires_at_ms, intent.is_retry)

    def _forget_synced(self) -> None:
        commits, unsynced = self._commits, self._unsynced
        while commits and commits[0][0].is_synced:
            commit, keys = commits.popleft()
            for key in keys:
                if unsynced.get(key) is commit:  # else it was written again
                    del unsynced[key]


def _known(present: StoredObject, intent: Intent) -> ContextToken:
    """The context of a write.  Raises NotCaughtUp."""
    if (needed := intent.needed) is None:
        return intent.context or ContextToken(present.context, present.newest)
    if (known := needed.known_with(present)) is None:
        raise NotCaughtUp(present)
    return known if intent.context is None else needed.exact


def _merged(copies: Iterable[bytes]) -> StoredObject:
    return merge_all(decode_object(encoded) for encoded in dict.fromkeys(copies))  # equal ones once
