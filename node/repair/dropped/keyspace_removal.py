"""Removes what dropped and replaced keyspaces have left here, so that their space returns.

Each owner does so by itself, once it holds a document without the keyspace: nobody can ask for these keys
any more, and whoever has not heard of that yet is refused them (node/replica/purging/gone_keyspaces.py).
Hints go key by key.  Copies are looked through by a few seeks each, so nothing has to be remembered over a
restart: what is left is found again.  Later only that is looked for which was dropped since.  The objects
of a keyspace in a copy are one range of keys.  They are read once, as the sums and figures of the copy have
to lose them, and then dropped by one marker.  The engine deletes tables that hold nothing else unread, and
leaves the rest out as it merges.  Registers are in no sum, so they are not read.  A copy that is being
filled is looked through once it is whole, one that cannot be read once it is healed, and until then such a
copy is not compared with others.

Rule P6: docs/protocol/deletes.md; E11, by which a full disk takes this: docs/protocol/engine.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Final

from ringmill.cluster.errors import RingmillError, reason_of
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TopologyView
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.comparing.held_figures import HeldFigures
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.purging.gone_keyspaces import Sought
from ringmill.node.replica.stepping import first_key
from ringmill.node.replica.stored_key import (
    COPY_PREFIX_BYTES,
    Copy,
    copy_prefix,
    keyspace_prefix,
    parse_keyspace,
    prefix_end,
    registers_prefix,
)
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Engine

__all__ = ["KeyspaceRemoval"]

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 15.0
FEW_KEYS: Final = 16
FEW_BYTES: Final = 64 << 10
"""A range with no more is deleted key by key: each read looks at a marker until it has met all tables."""
MOST_REMEMBERED: Final = 16
"""Dropped ranges of a copy whose places are remembered, so that seeks need not pass what they hide."""

_log = logging.getLogger(__name__)


class KeyspaceRemoval:
    """`run` it as long as the node runs."""

    def __init__(
        self,
        *,
        engine: Engine,
        objects: ObjectStore,
        hints: HintStore,
        topology: TopologyView,
        gate: Gate,
        options: ReplicaOptions,
    ) -> None:
        self._engine = engine
        self._objects = objects
        self._gone = objects.gone
        self._hints = hints
        self._topology = topology
        self._gate = gate
        self._options = options
        self._dropped: dict[bytes, list[bytes]] = {}  # prefixes in order of time, by that of their copy
        self._is_flush_due = False
        self.seeks = 0
        """Seeks by which copies were looked through since the start."""
        self.keys = 0
        """Objects, registers that were counted, and hints that were removed since the start."""
        self.size_bytes = 0
        """Bytes of objects and their keys that were removed since the start."""
        self.held_back: dict[PartitionId, str] = {}
        """Why something of a dropped keyspace may be left in a partition's copy, at the last try."""

    @property
    def waiting(self) -> int:
        """The copies that may hold something of a dropped keyspace."""
        return len(self._gone.unswept)

    @property
    def is_done(self) -> bool:
        """Nothing of a dropped keyspace is left, of those that this node has heard of."""
        return not (self.waiting or self._gone.hints_unswept or self._is_flush_due)

    @property
    def story(self) -> str:
        """That something of dropped keyspaces may be left, in one line for people; "" when nothing is."""
        if self.is_done:
            return ""
        if not self.waiting:
            return "hints of dropped keyspaces are removed"
        subject = "1 partition is" if self.waiting == 1 else f"{self.waiting} partitions are"
        why = f": {min(self.held_back.values())}" if self.held_back else ""
        return f"{subject} looked through for what dropped keyspaces have left{why}"

    async def run(self) -> None:
        """Remove, until cancelled; sleeps until a document lacks a keyspace, or a copy is new."""
        await self._topology.wait_formed()
        while True:
            await self._gone.found.wait()
            pause_s = FIRST_PAUSE_S
            while True:
                await self._objects.counted.wait()
                self._gone.found.clear()
                if await self.round():
                    break
                try:
                    async with asyncio.timeout(pause_s):
                        await self._gone.found.wait()
                except TimeoutError:
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def round(self) -> bool:
        """Look through what waits.  Returns whether nothing of it has to wait for something else."""
        if not self._objects.is_counted:
            return False
        before, self.held_back = self.held_back, {}
        keys, size_bytes = self.keys, self.size_bytes
        await self._remove_hints()
        for copy in list(self._gone.unswept):
            sought = self._gone.unswept.get(copy)  # as it is now: another drop may have come in this round
            if sought is None:
                continue
            try:
                if await self._sweep(copy, sought):
                    self._gone.note_swept(copy, sought)
                else:
                    self.held_back[copy.partition] = "what is stored is being counted"
            except (RingmillError, OSError) as error:
                self.held_back[copy.partition] = reason_of(error)
        await self._flush()
        if fresh := [why for partition, why in self.held_back.items() if partition not in before]:
            _log.info("dropped keyspaces stay in %d partitions: %s", len(fresh), fresh[0])
        if self.keys > keys:
            _log.info(
                "removed what dropped keyspaces have left: %d keys, %d bytes of objects",
                self.keys - keys,
                self.size_bytes - size_bytes,
            )
        return self.is_done or self._gone.found.is_set()

    async def _remove_hints(self) -> None:
        if asked := self._gone.hints_unswept:
            try:
                self.keys += await self._hints.drop_gone()
            except (RingmillError, OSError) as error:
                _log.debug("hints of dropped keyspaces are removed later: %s", error)
            else:
                self._gone.note_hints_swept(asked)

    async def _sweep(self, copy: Copy, sought: Iterable[Sought]) -> bool:
        """Returns whether nothing is left there; raises what reading and the engine raise."""
        for one in sorted(sought):
            async for keyspace in self._found_in(copy_prefix(copy), one):
                if self._gone.has(keyspace) and not await self._remove_objects(copy, keyspace):
                    return False
            async for keyspace in self._found_in(registers_prefix(copy), one):
                if self._gone.has(keyspace):
                    await self._remove_registers(copy, keyspace)
        return True

    async def _found_in(self, prefix: bytes, sought: Sought) -> AsyncIterator[KeyspaceId]:
        """The keyspaces of which a copy has at least one key there, by one seek each."""
        start = prefix + sought.start
        end = prefix + sought.end if sought.end else prefix_end(prefix)
        skipped = sorted(self._dropped.get(prefix, ()))
        while start < end:
            await self._pace_seek()
            stop = min(end, next((each for each in skipped if each >= start), end))
            found = await first_key(self._engine, start, stop)
            if found is None:
                start = end if stop == end else prefix_end(stop)
                continue
            keyspace = parse_keyspace(found[COPY_PREFIX_BYTES:])
            yield keyspace
            start = prefix_end(prefix + keyspace_prefix(keyspace))

    async def _pace_seek(self) -> None:
        self.seeks += 1
        is_turn_over = self.seeks % self._options.count_slice == 0  # requests go first (rule O8)
        # A seek may never have to wait, and there may be hundreds of thousands.
        await asyncio.sleep(self._options.count_pause_s * self._gate.stretch if is_turn_over else 0)

    async def _remove_objects(self, copy: Copy, keyspace: KeyspaceId) -> bool:
        """False when the figures of the copy were not at rest meanwhile: nothing was removed."""
        prefix = copy_prefix(copy) + keyspace_prefix(keyspace)
        counts, held, few = self._objects.counts, HeldFigures(), list[bytes]()
        async with aclosing(self._engine.scan(prefix, prefix_end(prefix))) as scan:
            async for key, encoded in scan:
                held.add(key, encoded)
                if held.objects <= FEW_KEYS:
                    few.append(key)
                if held.objects % self._options.count_slice == 0:  # requests go first (rule O8)
                    await asyncio.sleep(self._options.count_pause_s * self._gate.stretch)
        await self._engine.wait_writable(frees_space=True)
        if counts != self._objects.counts or not self._objects.is_counted:
            return False
        is_little = held.objects <= FEW_KEYS and held.size_bytes <= FEW_BYTES
        self._remove(copy_prefix(copy), prefix, few if is_little else None)
        self._objects.note_gone(held)  # in the same step: nobody writes there any more, so nothing came since
        self.keys += held.objects
        self.size_bytes += held.size_bytes
        sometimes("what a dropped keyspace has left is removed")
        return True

    async def _remove_registers(self, copy: Copy, keyspace: KeyspaceId) -> None:
        prefix = registers_prefix(copy) + keyspace_prefix(keyspace)
        few: list[bytes] = []
        async with aclosing(self._engine.scan(prefix, prefix_end(prefix))) as scan:
            async for key, _ in scan:
                few.append(key)
                if len(few) > FEW_KEYS:
                    break
        await self._engine.wait_writable(frees_space=True)
        self._remove(registers_prefix(copy), prefix, few if len(few) <= FEW_KEYS else None)
        self.keys += len(few)

    def _remove(self, of_copy: bytes, prefix: bytes, few: list[bytes] | None) -> None:
        """Remove a range, by these keys if they are few.  Raises what the engine raises: then all of it is
        there."""
        batch = Batch()
        if few is None:
            batch.drop_prefix(prefix)
        for key in few or ():
            batch.delete(key)
        self._engine.apply(batch, frees_space=True)
        if few is None:
            self._is_flush_due = True
            self._dropped[of_copy] = [*self._dropped.get(of_copy, []), prefix][-MOST_REMEMBERED:]

    async def _flush(self) -> None:
        """Have the markers reach the tables, as only merges that meet them give the space back."""
        if self._is_flush_due:
            try:
                await self._engine.write_tables()
            except (RingmillError, OSError) as error:
                _log.debug("the markers of dropped keyspaces are flushed later: %s", error)
            else:
                self._is_flush_due = False
