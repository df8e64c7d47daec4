"""Hints: writes kept on this node's disk for owners that did not ack them, until each owner has them.

Rule H1: a hint belongs to (partition, key) and names its target owners; a newer write of the key is merged
into it.  A target is removed only if the hint still holds what was delivered: if a newer write was merged in
meanwhile, removing the target would lose that write.  Each change is one step (rule V9).  Hints for one owner
are bounded in bytes and in time, and all of them in number, as each takes memory; what is over a bound is
dropped, and the partition owed to that owner first (rule H2).  Striking off works on a full disk (rule E11).
A hint that counts for its owner in a write's level is never dropped: one that is over the bound is refused
instead, and does not count (rule H11).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Final

from ringmill.cluster.errors import DiskFull, Overloaded, RingmillError, Stale
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import StoredObject, merge
from ringmill.node.node_options import HintOptions
from ringmill.node.replica.hinted.hint_codec import Hint, decode_hint, encode_hint
from ringmill.node.replica.hinted.hint_index import LOOKED_AT, HintIndex
from ringmill.node.replica.purging.gone_keyspaces import GoneKeyspaces
from ringmill.node.replica.stepping import change, fetch
from ringmill.node.replica.stored_key import HintKey, Kind, hint_key, kind_prefix, parse_hint_key, prefix_end
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Commit, Engine
from ringmill.node.storage.storage_errors import CorruptBlock, CorruptRange

__all__ = ["HintStore"]

_FOR_OTHERS: Final = 4  # one part of that many of what is left: who stays dead takes not all
STORED_TOGETHER: Final = 128  # of those that the disk had refused, by one sync

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefusedHint:
    """A hint that the disk refused.  It is kept in memory.  Mostly there are few, because a node with a full
    disk coordinates no new writes, and an overloaded one refuses the writes themselves (rule H7).
    """

    targets: tuple[NodeId, ...]
    encoded: bytes
    size: int  # of key and object, in bytes
    since: float


class HintStore:
    """The hints of this node.  Their keys and targets are in memory, the objects in the engine."""

    def __init__(
        self,
        engine: Engine,
        index: dict[NodeId, dict[HintKey, int]],
        options: HintOptions | None = None,
        clock: Clock | None = None,
        gone: GoneKeyspaces | None = None,
    ) -> None:
        self._engine = engine
        self._keyspaces = gone or GoneKeyspaces(NodeId(""))
        self._options = options or HintOptions()
        self._clock = clock
        self._index = HintIndex(index, self._now)
        self._refused: dict[HintKey, RefusedHint] = {}
        self._refused_bytes = 0
        self._vouched: dict[PartitionId, HybridTime] = {}  # since the start
        self._has_lost = False
        self._last: Commit | None = None  # of the newest change; those before it are synced with it
        self.kept = asyncio.Event()  # set whenever there is something new to deliver
        self.dropped = 0  # over the bound, since the start
        self.delivered = 0  # to all their targets, since the start
        self.on_dropped: Callable[[PartitionId, NodeId], bool] = self._lose_dropped
        """Told before a hint is dropped, and says whether it may be; until somebody listens, it counts as
        lost."""

    @classmethod
    async def open(
        cls,
        engine: Engine,
        options: HintOptions | None = None,
        clock: Clock | None = None,
        gone: GoneKeyspaces | None = None,
    ) -> HintStore:
        """Find the hints of earlier starts; where they are damaged, the readable ones.

        Without a clock no hint is too old.  Raises CorruptData.
        """
        prefix = kind_prefix(Kind.HINT)
        span = prefix, prefix_end(prefix)
        try:
            return cls(engine, await _index(engine.scan(*span)), options, clock, gone)
        except (CorruptBlock, CorruptRange) as error:
            sometimes("a start finds damaged hints")
            _log.warning("some hints may be lost: %s", error)
            return cls(engine, await _index(engine.survivors(*span)), options, clock, gone)

    @property
    def is_whole(self) -> bool:
        """Whether all hints of this start are in the engine: none is only in memory or lost (rule W6)."""
        return not (self._refused or self._has_lost)

    def note_lost(self) -> None:
        """A hint could not be kept."""
        self._has_lost = True

    @property
    def total(self) -> int:
        """The number of undelivered hints, counted once for each target."""
        return sum(self.counts().values())

    def counts(self) -> dict[NodeId, int]:
        """The number of hints for each owner that has some."""
        waiting = self._index.counts()
        for key, refused in self._refused.items():
            for target in refused.targets:
                waiting[target] = waiting.get(target, 0) + (not self._index.waits(target, key))
        return dict(sorted(waiting.items()))

    def waited_s(self) -> dict[NodeId, float]:
        """How long the oldest hint for each owner has waited, in seconds; a start counts anew."""
        now = self._now()
        waited = self._index.waited_s()
        for refused in self._refused.values():
            for target in refused.targets:
                waited[target] = max(waited.get(target, 0.0), now - refused.since)
        return dict(sorted(waited.items()))

    def partitions(self) -> set[PartitionId]:
        """The partitions of which some hint waits."""
        return self._index.partitions() | {key.partition for key in self._refused}

    def waiting_at_former(self, target: NodeId, topology: Topology, limit: int) -> list[HintKey]:
        """Some hints for an owner of partitions that it owns no longer."""
        return self._index.at_former(target, topology, limit)

    def vouch(self, partition: PartitionId, watermark: HybridTime) -> None:
        """Somebody is told that no hint of the partition waits here, as a watermark is to be proven.

        From now on an object with nothing newer than `watermark` cannot count here (rule P2): its coordinator
        sent it before that, and holds it, or its delete.  A start forgets this; what was sent before it has
        passed its deadline by then (rule D2), as a watermark is farther back than a request waits.
        """
        self._vouched[partition] = HybridTime(max(watermark, self._vouched.get(partition, ZERO)))

    async def wait_synced(self) -> None:
        """Return once all that was kept or struck off until now is on the disk.

        Raises what the disk raises.
        """
        if self._last is not None and not self._last.is_synced:
            await self._last.synced()

    def waiting_for(self, target: NodeId, limit: int) -> list[HintKey]:
        """Some hints for an owner, oldest first (by when they were kept or last tried)."""
        return self._index.first(target, limit)

    def stand_behind(self, target: NodeId, keys: Iterable[HintKey]) -> None:
        """Move hints to the back of the queue, so that failing hints cannot starve the rest."""
        self._index.stand_behind(target, keys)

    async def get(self, key: HintKey) -> Hint | None:
        """The present hint.  Raises CorruptData."""
        value = await fetch(self._engine, hint_key(key))
        return None if value is None else decode_hint(value)

    async def get_synced(self, key: HintKey) -> Hint | None:
        """The present hint, once this node cannot forget it.  Raises CorruptData, and what syncing raises."""
        hint = await self.get(key)
        await self.wait_synced()
        return hint

    async def keep(self, key: HintKey, targets: Iterable[NodeId], stored: StoredObject) -> Commit | None:
        """Keep an object for these owners, merged into the hint that exists already.

        Visible at once, durable with the returned commit; None when it was dropped, over the bound of all of
        them or that of memory, or as its keyspace was.  Raises CorruptData and Unavailable; also DiskFull,
        Overloaded, CorruptBlock or CorruptRange, after which `keep_refused` tries again later.
        """
        names = tuple(targets)
        try:
            return await self._change(key, names, stored)
        except (DiskFull, Overloaded, CorruptBlock, CorruptRange):
            if not self._keep_in_memory(key, names, stored):
                return None
            raise
        except RingmillError:
            self.note_lost()
            raise

    async def keep_counted(self, key: HintKey, target: NodeId, stored: StoredObject) -> Commit:
        """Keep an object that is to count for this owner once the commit is synced (rule H11).

        Raises Overloaded over the bound, Stale for what may have been deleted and forgotten, and what `keep`
        raises; then nothing is kept, not even in memory.
        """
        commit = await change(
            self._engine,
            hint_key(key),
            lambda present: self._keep(key, (target,), stored, present, is_counted=True),
        )
        assert commit is not None, "what counts is refused, not dropped"
        return commit

    @property
    def has_refused(self) -> bool:
        return bool(self._refused)

    async def keep_refused(self) -> None:
        """Store refused hints durably, as far as the disk accepts them now."""
        waiting = list(self._refused.items())
        while waiting and await self._keep_together(waiting[:STORED_TOGETHER]):
            del waiting[:STORED_TOGETHER]

    async def _keep_together(self, some: Sequence[tuple[HintKey, RefusedHint]]) -> bool:
        """False while the disk is full."""
        taken: list[tuple[HintKey, RefusedHint]] = []
        last: Commit | None = None
        is_full = False
        for key, refused in some:
            try:
                commit = await self._change(key, refused.targets, decode_object(refused.encoded))
            except DiskFull:
                is_full = True
                break
            except (Overloaded, CorruptBlock, CorruptRange):
                continue
            except RingmillError as error:
                self._lose(refused, error)
            else:
                last = commit or last
            taken.append((key, refused))
        try:
            if last is not None:
                await last.synced(is_urgent=False)
                sometimes("a hint that the disk refused is kept after all")
        except DiskFull:
            return False
        except RingmillError as error:
            self._lose(taken[0][1], error)
        for key, refused in taken:
            if self._refused.get(key) is refused:
                del self._refused[key]
                self._refused_bytes -= refused.size
        return not is_full

    def _lose(self, refused: RefusedHint, error: RingmillError) -> None:
        _log.warning("a hint for %s is lost: %s", ", ".join(refused.targets), error)
        self.note_lost()

    async def strike_off(self, key: HintKey, target: NodeId, delivered: bytes) -> bool:
        """Remove a target that holds `delivered` durably, if the hint still holds just that.

        False when a newer write was merged in meanwhile; the hint then stays and is delivered again.
        """

        def step(value: bytes | None) -> bool:
            present = None if value is None else decode_hint(value)
            if present is not None and present.encoded != delivered:
                sometimes("a hint has changed while it was delivered")
                self._index.renew(target, key)
                return False
            self._strike_off(key, target, present)
            return True

        return await change(self._engine, hint_key(key), step, frees_space=True)

    async def drop_gone(self) -> int:
        """Delete the hints of keyspaces that were dropped, also those that have counted: nobody is to get
        them (rule P6).  Returns how many keys these were.  Raises what the engine raises."""
        for key in [each for each in self._refused if self._keyspaces.has(each.keyspace)]:
            self._refused_bytes -= self._refused.pop(key).size
        dropped = 0
        for target in self._index.counts():
            found = await self._gone_for(target)
            for first in range(0, len(found), STORED_TOGETHER):
                await self._engine.wait_writable(frees_space=True)
                turn, batch = found[first : first + STORED_TOGETHER], Batch()
                for key in turn:
                    batch.delete(hint_key(key))
                self._last = self._engine.apply(batch, frees_space=True)
                for key in turn:
                    for each in self._index.targets_of(key):
                        self._index.remove(each, key)
                dropped += len(turn)
                await asyncio.sleep(0)
        return dropped

    async def _gone_for(self, target: NodeId) -> list[HintKey]:
        """The hints for an owner of keyspaces that were dropped."""
        found = []
        for number, key in enumerate(self._index.first(target, sys.maxsize), 1):
            if self._keyspaces.has(key.keyspace) and self._index.waits(target, key):
                found.append(key)
            if number % LOOKED_AT == 0:
                await asyncio.sleep(0)
        return found

    async def readdress(self, key: HintKey, target: NodeId, owners: Sequence[NodeId]) -> None:
        """Replace a target that is no longer an owner by the present `owners`.

        On a full disk they are noted in memory, and the hint stays as it is stored: a start reads the former
        target again.  Raises CorruptData and what the engine raises.
        """
        assert target not in owners, f"{target} is an owner"

        def step(value: bytes | None) -> None:
            present = None if value is None else decode_hint(value)
            if present is not None:
                counted = {*present.counted, *(owners if target in present.counted else ())}
                ours = replace(present, counted=tuple(sorted(counted)))  # so that none of these is dropped
                self._keep(key, owners, decode_object(present.encoded), encode_hint(ours))
                named = sorted({*present.targets, *owners})  # but for those whose hint was dropped just now
                present = replace(
                    present,
                    targets=tuple(each for each in named if self._index.waits(each, key)),
                    counted=tuple(each for each in named if each in counted),
                )
            self._strike_off(key, target, present)

        def step_in_memory(value: bytes | None) -> None:
            present = None if value is None else decode_hint(value)
            if present is not None:
                for owner in owners:
                    self._index.add(owner, key, len(key.key) + len(present.encoded))
            self._strike_off(key, target, present)

        try:
            await change(self._engine, hint_key(key), step)
        except DiskFull:
            await change(self._engine, hint_key(key), step_in_memory, frees_space=True)

    def _keep_in_memory(self, key: HintKey, targets: tuple[NodeId, ...], stored: StoredObject) -> bool:
        """Until the disk takes it.  False when it was dropped, over the bound (rule H7)."""
        if self._keyspaces.refuses(key.keyspace):
            return False
        former = self._refused.get(key, RefusedHint((), b"", 0, self._now()))
        encoded = encode_object(merge(decode_object(former.encoded), stored) if former.size else stored)
        size = len(key.key) + len(encoded)
        total = self._refused_bytes - former.size + size
        is_over = not former.size and len(self._refused) + self._index.count >= self._options.most_hints
        if is_over or total > min(self._options.most_refused_bytes, self._options.most_bytes):
            may_go = [self.on_dropped(key.partition, target) for target in targets]
            if all(may_go):
                self.dropped += len(targets)
                return False  # an earlier one of the key stays as it is
        named = tuple(sorted({*former.targets, *targets}))
        self._refused[key] = RefusedHint(named, encoded, size, former.since)
        self._refused_bytes = total
        self.kept.set()
        return True

    async def _change(self, key: HintKey, targets: Iterable[NodeId], stored: StoredObject) -> Commit | None:
        return await change(
            self._engine, hint_key(key), lambda present: self._keep(key, targets, stored, present)
        )

    def _keep(
        self,
        key: HintKey,
        targets: Iterable[NodeId],
        stored: StoredObject,
        value: bytes | None,
        *,
        is_counted: bool = False,
    ) -> Commit | None:
        asked = tuple(targets)
        if self._keyspaces.refuses(key.keyspace):
            if is_counted:
                self._keyspaces.check(key.keyspace)
            return None
        former = Hint((), b"")
        encoded = encode_object(stored)
        if value is not None:
            former = decode_hint(value)
            sometimes("a newer write is merged into a hint")
            encoded = encode_object(merge(decode_object(former.encoded), stored))
        size = len(key.key) + len(encoded)
        if is_counted:
            if stored.newest <= self._vouched.get(key.partition, ZERO):
                raise Stale(
                    f"a watermark above all of it was to be proven, and {asked[0]} is to have it then"
                )
            self._admit_counted(asked, key, size)
        counted = {*former.counted, *asked} if is_counted else set(former.counted)
        wanted = sorted({*former.targets, *asked})
        over = [
            target
            for target in wanted
            if self._is_dropped(target, key, size, target in counted)
            and self.on_dropped(key.partition, target)
        ]
        for _ in over:
            sometimes("a hint over the bound is dropped")
            self.dropped += 1
        left = tuple(target for target in wanted if target not in over)
        if not left:
            return None  # an older hint of the key stays as it is: its owner lacks that one, too
        commit = self._put(key, Hint(left, encoded, tuple(each for each in left if each in counted)))
        for target in left:
            self._index.add(target, key, size)
        for target in over:
            self._index.remove(target, key)
        self.kept.set()
        return None if all(target in over for target in asked) else commit

    def _admit_counted(self, targets: Iterable[NodeId], key: HintKey, size: int) -> None:
        """Raises Overloaded over the bounds.  That in time does not hold for what counts."""
        for target in targets:
            if not self._fits(target, key, size):
                sometimes("a hint that was to count is refused")
                raise Overloaded(
                    f"hints for {target} have {self._index.bytes_of(target)} bytes here, the limit is "
                    f"{self._options.most_bytes}; there are {self._index.count}, the limit is "
                    f"{self._options.most_hints}, and three quarters of what is left for one owner"
                )

    def _is_dropped(self, target: NodeId, key: HintKey, size: int, is_counted: bool) -> bool:
        """What has counted is never dropped (rule H11)."""
        return not is_counted and not self._is_within_bounds(target, key, size)

    def _is_within_bounds(self, target: NodeId, key: HintKey, size: int) -> bool:
        """Whether one more hint of this size, or in the place of that key's, is within the bound."""
        age_s = self._now() - self._index.oldest(target)
        return self._fits(target, key, size) and age_s <= self._options.longest_s

    def _fits(self, target: NodeId, key: HintKey, size: int) -> bool:
        former, own = self._index.size_of(target, key), self._index.count_of(target)
        left = self._options.most_hints - (self._index.count - own)  # by the hints for others
        if former is None and own >= left - left // _FOR_OTHERS:
            return False
        return self._index.bytes_of(target) - (former or 0) + size <= self._options.most_bytes

    def _now(self) -> float:
        return 0.0 if self._clock is None else self._clock.monotonic()

    def _lose_dropped(self, partition: PartitionId, target: NodeId) -> bool:
        self.note_lost()
        return True

    def _strike_off(self, key: HintKey, target: NodeId, present: Hint | None) -> None:
        left = tuple(node for node in self._index.targets_of(key) if node != target)
        if present is not None and left:
            added = {*left}.difference(present.targets)  # in memory, maybe for one that has counted
            counted = tuple(node for node in left if node in added or node in present.counted)
            with suppress(DiskFull):  # it goes once its last target has it; a start would deliver it again
                self._put(key, replace(present, targets=left, counted=counted))
        elif present is not None:
            batch = Batch()
            batch.delete(hint_key(key))
            self._last = self._engine.apply(batch, frees_space=True)
            self.delivered += 1
        self._index.remove(target, key)

    def _put(self, key: HintKey, hint: Hint) -> Commit:
        batch = Batch()
        batch.put(hint_key(key), encode_hint(hint))
        commit = self._last = self._engine.apply(batch)
        return commit


async def _index(found: AsyncGenerator[tuple[bytes, bytes], None]) -> dict[NodeId, dict[HintKey, int]]:
    index: dict[NodeId, dict[HintKey, int]] = {}
    async with aclosing(found):
        async for stored, value in found:
            key, hint = parse_hint_key(stored), decode_hint(value)
            for target in hint.targets:
                index.setdefault(target, {})[key] = len(key.key) + len(hint.encoded)
    return index
