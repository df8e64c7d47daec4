"""Fills the copy of a partition that joins this node, from the old owners.

Enough old owners are read, each from a moment on at which it refuses writes of the former row, so that
one of them has each acknowledged write; writes of the joint reach the copy by themselves.  Objects are merged
in, synced page by page.  Registers are not copied: a round that leaves each as it is, agreed to by majorities
of the old and the new owners, brings it over.

Rules M3, M4, M5 and M7: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from ringmill.cluster.consensus.ballots import NO_BALLOT
from ringmill.cluster.consensus.remains import is_own
from ringmill.cluster.errors import CorruptData, Overloaded, RingmillError, Unavailable, WrongEpoch
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.overload.crossing import Crossings
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import CoreTime, Priority, Transport
from ringmill.cluster.ring.moves import sources_for
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.node.contracts import TopologyView
from ringmill.node.moves.adopting import ask_adopted
from ringmill.node.moves.brought_table import TableOfCopy
from ringmill.node.moves.fill_pace import FillPace
from ringmill.node.moves.fill_steps import FillSteps
from ringmill.node.moves.filled_so_far import MoveProgress
from ringmill.node.moves.table_of_pages import Item
from ringmill.node.node_options import MoveOptions
from ringmill.node.replica.object_batch import ObjectBatch, peers_object
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import Page, PageBody, ReadPage, ask_page_body
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.registers.forgotten_serving import learn_forgotten
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_messages import REGISTER_PAGE, AskRegisters, RegistersPage
from ringmill.node.replica.registers.remains_store import RemainsStore
from ringmill.node.replica.stored_key import (
    Copy,
    Place,
    copy_prefix,
    parse_object_key,
    prefix_end,
    registers_prefix,
)
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.storage_errors import NotCached

__all__ = ["Filling", "Pull", "FinishRegister"]

_log = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 5.0
CHECKPOINT_BYTES: Final = 1 << 20
TURNED_AWAY: Final = 10
"""Tries after which a source that compares the partition with others each time is read whole.  Owners may
differ for as long as a joint lasts: one has forgotten what had expired, and the others may not (rule M3)."""
MERGE_TURN: Final = 64  # objects merged in one turn of the loop, about a millisecond

FinishRegister = Callable[[str, bytes], Awaitable[None]]
"""Leaves a register of a keyspace as it is by a round whose accept goes to all.  Raises RingmillError."""


Pull = Callable[[PartitionId, Row, NodeId, Callable[[bytes], None]], Awaitable[int]]
"""Merges in by difference what an old owner holds; returns the bytes of objects that came.  Tells each key
that it has come to, b"" at the end.  Raises RingmillError and OSError when that cannot be done now."""


class Filling:
    """`moved_bytes` counts what was read from other owners since the start."""

    def __init__(
        self,
        node: NodeId,
        *,
        engine: Engine,
        objects: ObjectStore,
        watermarks: Watermarks,
        remains: RemainsStore,
        forgotten: ForgottenStore,
        topology: TopologyView,
        transport: Transport,
        finish_register: FinishRegister,
        pull: Pull,
        progress: MoveProgress,
        steps: FillSteps,
        gate: Gate,
        core_time: Callable[[], CoreTime],
        clock: HybridClock,
        options: MoveOptions,
    ) -> None:
        self._node = node
        self._engine = engine
        self._objects = objects
        self._watermarks = watermarks
        self._remains = remains
        self._forgotten = forgotten
        self._topology = topology
        self._transport = transport
        self._finish_register = finish_register
        self._pull = pull
        self._progress = progress
        self._steps = steps
        self._crossings = Crossings(CALL_TIMEOUT_S)
        self._gate = gate
        self._core_time = core_time
        self._clock = clock
        self._options = options
        self._turned_away: dict[tuple[Copy, NodeId], int] = {}  # how often in a row
        self._unnoted = 0  # bytes whose place is not on the disk
        self.moved_bytes = 0
        self.beside = 1
        """How many nodes of this host are being filled, this one included."""

    async def begin(self, partitions: Collection[PartitionId]) -> dict[PartitionId, RingmillError]:
        """Let copies be filled: their watermarks are known, and that they are is noted, on the disk.

        Returns why one cannot begin: Unavailable when too few old owners answer, WrongEpoch when its move has
        ended meanwhile.  Raises what the control state raises.
        """
        topology = self._topology.serving_topology()
        rows = {partition: topology.row(partition) for partition in partitions}
        fresh = {at: row for at, row in rows.items() if not self._progress.is_begun(self._copy_of(at, row))}
        if not fresh:
            return {}
        refused = await self.learn_marks(topology, fresh)
        learned = {at: row for at, row in fresh.items() if at not in refused}
        refused |= self._changed(learned)
        if begun := [self._copy_of(at, row) for at, row in learned.items() if at not in refused]:
            await self._progress.begin(begun)
        return refused

    async def learn_marks(
        self, topology: Topology, rows: Mapping[PartitionId, Row]
    ) -> dict[PartitionId, RingmillError]:
        """Ask for the watermarks of copies that begin here, each old owner once for all of them.

        Returns why one was not learned, as `begin`.
        """
        marks_of: dict[PartitionId, list[HybridTime]] = {partition: [] for partition in rows}
        failures: dict[NodeId, str] = {}

        async def ask(node: NodeId) -> None:
            owned = [partition for partition, row in rows.items() if node in row.whole]
            try:
                marks = await ask_adopted(self._transport, node, topology.epoch, owned)
            except RingmillError as error:
                failures[node] = error.message
                return
            for partition, mark in zip(owned, marks, strict=True):
                marks_of[partition].append(mark)

        async with asyncio.TaskGroup() as group:
            for node in dict.fromkeys(node for row in rows.values() for node in row.whole):
                group.create_task(ask(node))
        refused: dict[PartitionId, RingmillError] = {}
        for partition, row in rows.items():
            if len(marks_of[partition]) < sources_for(topology, row):
                silent = {node: why for node, why in failures.items() if node in row.whole}
                refused[partition] = _too_few(sources_for(topology, row), marks_of[partition], silent)
        refused |= self._changed(rows)
        if known := {
            partition: max(marks) for partition, marks in marks_of.items() if partition not in refused
        }:
            await self._watermarks.learn(known)
        return refused

    def _changed(self, rows: Mapping[PartitionId, Row]) -> dict[PartitionId, RingmillError]:
        """Those whose move has gone on or was given up."""
        found: dict[PartitionId, RingmillError] = {}
        for partition, row in rows.items():
            try:
                self._check_same(partition, row)
            except WrongEpoch as error:
                found[partition] = error
        return found

    def _copy_of(self, partition: PartitionId, row: Row) -> Copy:
        return Copy(partition, row.copy_epoch_of(self._node))

    async def fill(self, partition: PartitionId) -> None:
        """Returns once a copy that has begun is whole.

        Raises Unavailable when too few old owners answer, WrongEpoch when the move has ended meanwhile, also
        when another one has brought a copy that has not begun, and what the engine raises.
        """
        topology = self._topology.serving_topology()
        row = topology.row(partition)
        copy = self._copy_of(partition, row)
        if not self._progress.is_begun(copy):  # its watermark is not known, and would never be asked for
            raise WrongEpoch(f"the copy of partition {partition} is that of another move")
        failures: dict[NodeId, str] = {}
        need, pace = sources_for(topology, row), FillPace(self._gate, self._core_time, self.beside)
        for node in self._in_turn(row, partition):
            if self._progress.is_filled_from(copy, node):
                continue
            if len(self._progress.sources(copy)) >= need:
                break
            try:
                await self._fill_from(node, copy, row, pace)
            except WrongEpoch:
                self._check_same(partition, row)
                raise
            except RingmillError as error:
                failures[node] = f"{error.code}: {error.message}"
        if len(self._progress.sources(copy)) < need:
            sometimes("a joiner waits for its sources")
            raise _too_few(need, self._progress.sources(copy), failures)
        await self._bring_registers(topology, row, copy)
        self._check_same(partition, row)
        await self._objects.wait_synced(is_urgent=False)
        self._check_whole(copy)
        self._watermarks.end_filling(partition)
        sometimes("a joiner's copy is filled")
        await pace.rest()

    def _in_turn(self, row: Row, partition: PartitionId) -> list[NodeId]:
        """All old owners, another one first for each partition; those that were too late lately come last, as
        one that hangs holds up whoever asks it, and the others may be enough."""
        first = partition % len(row.whole)
        return sorted([*row.whole[first:], *row.whole[:first]], key=self._crossings.was_late)

    async def _fill_from(self, node: NodeId, copy: Copy, row: Row, pace: FillPace) -> None:
        """The first source is read page by page; of a further one, which holds nearly the same, only what
        differs, if both can tell."""
        if self._progress.sources(copy) and not self._progress.cursor(copy, node):
            try:
                came_to = self._steps.walked(copy, ("pulled", node))
                came = await self._pull(copy.partition, row, node, came_to)
            except Overloaded as error:  # it compares the partition with another owner, and soon will again
                turned_away = self._turned_away[copy, node] = self._turned_away.get((copy, node), 0) + 1
                if turned_away < TURNED_AWAY:
                    raise
                _log.debug("%s has no turn for a joiner, and is read whole: %s", node, error)
            except (Unavailable, CorruptData, OSError) as error:
                sometimes("a source of a move is read whole as what differs is not known")
                _log.debug("%s is read whole: %s", node, error)
            else:
                self._turned_away.pop((copy, node), None)
                self._check_same(copy.partition, row)
                sometimes("a source of a move tells only what differs")
                await self._note(copy, node, None, came)
                return
        await self._read_whole(node, copy, row, pace)

    async def _read_whole(self, node: NodeId, copy: Copy, row: Row, pace: FillPace) -> None:
        cursor = self._progress.cursor(copy, node)
        is_first = not self._progress.sources(copy)
        while True:
            pages = await self._read_pages(node, copy, row, cursor, pace)
            is_long = sum(len(page.body) for page in pages) >= self._options.least_table_bytes
            size_bytes = await self._bring(copy, cursor, pages, as_table=is_first and is_long)
            self._check_same(copy.partition, row)
            cursor = pages[-1].covered_to
            await self._note(copy, node, cursor or None, size_bytes)
            if not cursor:
                return
            await pace.rest()

    async def _read_pages(
        self, node: NodeId, copy: Copy, row: Row, start: bytes, pace: FillPace
    ) -> list[PageBody]:
        """What fills a table, or all that is left."""
        pages: list[PageBody] = []
        in_all = 0
        while True:
            epoch = self._topology.serving_topology().epoch
            request = ReadPage(epoch, copy.partition, start)
            with self._crossings.within(node) as timeout_s:
                page = await ask_page_body(self._transport, node, request, row, timeout_s=timeout_s)
            self._check_same(copy.partition, row)
            pages.append(page)
            self._steps.came_to(copy, ("read", node), page.covered_to)
            in_all += len(page.body)
            start = page.covered_to
            if not start:
                return pages
            await pace.rest(len(page.body))  # requests go first (rule O8)
            if in_all >= self._options.table_bytes:
                return pages

    async def _bring(self, copy: Copy, start: bytes, pages: Sequence[PageBody], *, as_table: bool) -> int:
        """Durable on return.  Returns the bytes of keys and objects."""
        if as_table:
            await self._engine.wait_writable()
            table = TableOfCopy(
                copy, start, pages, engine=self._engine, objects=self._objects, clock=self._clock
            )
            if (brought := await table.add()) is not None:
                await self._merge(copy, brought.rest)
                return brought.read_bytes
        size_bytes = 0
        for page in pages:
            items = Page.decode(page.body).items
            size_bytes += sum(len(key) + len(encoded) for key, encoded in items)
            await self._merge(copy, items)
        return size_bytes

    async def _note(self, copy: Copy, node: NodeId, cursor: bytes | None, size_bytes: int) -> None:
        """`size_bytes` came from a source; `cursor` is where to go on, None for the end."""
        if cursor is None:
            self._progress.note_filled(copy, node)
        else:
            self._progress.note_cursor(copy, node, cursor)
        self._steps.came_to(copy, ("brought", node), cursor or b"")
        self.moved_bytes += size_bytes
        self._unnoted += size_bytes
        if self._unnoted >= CHECKPOINT_BYTES:
            self._unnoted = 0
            await self._progress.store()

    async def _merge(self, copy: Copy, items: Sequence[Item]) -> None:
        """Durable on return."""
        prefix, batch = copy_prefix(copy), ObjectBatch()
        for number, (key, encoded) in enumerate(items, 1):
            place = parse_object_key(prefix + key)
            if self._objects.gone.has(place.keyspace):
                continue  # the source has yet to remove it (rule P6)
            try:
                is_turn_over = number % MERGE_TURN == 0
                if is_turn_over or batch.is_full or not self._objects.takes_batches:
                    self._commit(batch)
                    batch = ObjectBatch()
                if is_turn_over:
                    await asyncio.sleep(0)  # requests wait meanwhile
                self._objects.apply_into(batch, place, encoded)
            except (NotCached, CorruptData, OSError):
                self._commit(batch)  # before any wait: a write that comes meanwhile is newer
                batch = ObjectBatch()
                await self._objects.apply(place, peers_object(encoded), of_owner=True)
        self._commit(batch)
        await self._objects.wait_synced(is_urgent=False)

    def _commit(self, batch: ObjectBatch) -> None:
        with self._objects.feed.bringing():
            self._objects.commit(batch)

    def all_is_brought(self) -> None:
        """No copy is to be filled any more: who watches the changes of this node looks at all keys (N4)."""
        self._objects.feed.all_is_brought()

    async def _bring_registers(self, topology: Topology, row: Row, copy: Copy) -> None:
        """Enough old owners tell of their registers that each one which was ever agreed on is among them.

        A try goes on behind the registers that an earlier one has finished under this row.  What has come
        among these since was not agreed on before the joint, and rounds of the joint need no help.
        """
        keys: dict[bytes, None] = {}
        answered: list[NodeId] = []
        failures: dict[NodeId, str] = {}
        need = row.size - (row.size // 2 + 1) + 1
        for node in self._in_turn(row, copy.partition):
            if len(answered) >= need:
                break
            try:
                keys.update(dict.fromkeys(await self._registers_of(node, copy, row)))
                answered.append(node)
            except WrongEpoch:
                self._check_same(copy.partition, row)
                raise
            except RingmillError as error:
                failures[node] = f"{error.code}: {error.message}"
        if len(answered) < need:
            raise _too_few(need, answered, failures)
        finished = self._progress.registers_to(copy, row.row_epoch)
        for key in sorted(keys):
            if key <= finished:
                continue
            await self._bring_register(topology, parse_object_key(registers_prefix(copy) + key))
            self._progress.note_registers(copy, row.row_epoch, key)
            self._steps.came_to(copy, "rounds", key)

    async def _bring_register(self, topology: Topology, place: Place) -> None:
        if topology.has_dropped(place.keyspace):
            return
        space = topology.keyspace(place.keyspace)
        if not (is_own(space, place.key) and self._forgotten.known.covers(place.key)):
            await self._finish_register(space.name, place.key)
            sometimes("a register is brought over by a round")

    async def _registers_of(self, node: NodeId, copy: Copy, row: Row) -> list[bytes]:
        """The keys of the registers that an old owner has accepted something of; its remains (R5), and what
        it knows as forgotten (J29), are taken over."""
        keys: list[bytes] = []
        start = b""
        while True:
            epoch = self._topology.serving_topology().epoch
            request = AskRegisters(epoch, copy.partition, 0, start).encode()
            with self._crossings.within(node) as timeout_s:
                body = await self._transport.call(
                    node, REGISTER_PAGE, request, timeout_s=timeout_s, priority=Priority.REPAIR
                )
            page = RegistersPage.decode(body)
            if page.row_epoch != row.row_epoch:
                raise WrongEpoch(f"{node} answered under row epoch {page.row_epoch}")
            await self._remains.add(copy.partition, page.remains)
            self._steps.came_to(copy, ("registers", node), page.covered_to)
            keys += [key for key, accepted, _ in page.items if accepted > NO_BALLOT]
            if not page.covered_to:
                await learn_forgotten(self._transport, node, self._forgotten)
                return keys
            start = page.covered_to

    def _check_whole(self, copy: Copy) -> None:
        """Raise CorruptData when what was filled may be damaged already: it is healed first (rule H5)."""
        for prefix in (copy_prefix(copy), registers_prefix(copy)):
            if self._engine.may_lack(prefix, prefix_end(prefix)):
                sometimes("a joiner's copy is healed before it counts")
                raise CorruptData(f"the copy of partition {copy.partition} was damaged, and is healed first")

    def _check_same(self, partition: PartitionId, row: Row) -> None:
        """Raise WrongEpoch when the move has gone on or was given up."""
        if self._topology.serving_topology().row(partition).row_epoch != row.row_epoch:
            raise WrongEpoch(f"the move of partition {partition} has changed meanwhile")


def _too_few(need: int, answered: object, failures: dict[NodeId, str]) -> Unavailable:
    why = "; ".join(f"{node}: {reason}" for node, reason in sorted(failures.items()))
    number = len(answered) if isinstance(answered, dict | list | set | tuple) else 0
    return Unavailable(f"{need} old owners are needed, {number} answered ({why})")
