"""Healing: fills damaged key ranges of this node's disk from the other owners.

The engine fences a range whose newest values may be lost.  Healing asks the other owners part by part for
what they hold, merges it with what survived here, and only then makes the part readable again (rules H5 and
H6).

- A part of a partition's copy needs N - W + 1 other owners, so that at least one of them has each
  acknowledged write, or all others if there are fewer.  An owner that may have lost something of the same
  range is not a source. If there is no other owner, the range stays unreadable.  Fewer are enough by the
  operator's word (rule H12).
- Control state is written again from its second copy.
- A part that has to wait in its middle is readable up to there, and is healed from there on.
- A lost hint was for a write that this node, as an owner, also holds as an object.  That object is healed
  like any other, and comparing brings it to the hint's targets (node/repair/anti_entropy.py).
- Registers: node/repair/register_healing.py.
- Keys that this node does not own are given up at once.  A former copy that is still to be brought to its
  owners (rule M6) may be among them, so the log says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch, RingmillError, Unavailable, reason_of
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.overload.crossing import Crossings
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import Transport
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TopologyView
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.parts import Layout, Part, PartKind, layout_of
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import Page, ReadPage, ask_page
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES, Copy, copy_prefix, prefix_end
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.version.version import CorruptMark

__all__ = ["Healing", "Reached"]

CALL_TIMEOUT_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
# The most that is read from other owners, so that healing leaves their disks and loops to requests: a damaged
# gigabyte takes 43 s.  Chosen, not measured.
BYTES_PER_S: Final = 24 << 20
PARTS_AT_ONCE: Final = 16  # lifted by one synced edit of the manifest; one edit each took most of the time

_MERGED: Final = (PartKind.COPY, PartKind.REGISTERS)
_FIRST: Final = {PartKind.CONTROL: 0, PartKind.HINTS: 1}  # serving needs them

Reached = Callable[[bytes], None]
"""Called as soon as a part is healed, durably, from its start to before this key."""

_log = logging.getLogger(__name__)


class Healing:
    """`run` it as long as the node runs.  `now` describes what is being healed."""

    def __init__(
        self,
        node: NodeId,
        *,
        engine: Engine,
        objects: ObjectStore,
        control: ControlStore,
        watermarks: Watermarks,
        topology: TopologyView,
        transport: Transport,
        on_lost_hints: Callable[[], None],
        heal_registers: Callable[[Part, Reached, set[NodeId]], Awaitable[None]],
        loss: AcceptedLoss,
        gate: Gate,
    ) -> None:
        self.loss = loss
        self._gate = gate
        self._node = node
        self._engine = engine
        self._objects = objects
        self._control = control
        self._watermarks = watermarks
        self._topology = topology
        self._transport = transport
        self._on_lost_hints = on_lost_hints
        self._heal_registers = heal_registers
        self._crossings = Crossings(CALL_TIMEOUT_S)
        self._logged: dict[str, None] = {}  # of the present marks
        self._silent: set[NodeId] = set()  # owners that did not answer in this round: not waited for again
        self._uncounted: dict[bytes, None] = {}  # prefixes of copies of which something was healed
        self._known: tuple[int, Layout] | None = None
        self.now = ""
        self.healed = 0  # parts that others were merged into, since the start

    @property
    def owned(self) -> int:
        """The number of partitions that this node owns."""
        return sum(part.kind is PartKind.COPY for part in self._layout_by_document().parts)

    @property
    def unfilled(self) -> int:
        """How many partitions still need something from other owners.

        A node that does not serve tells it, too: where most are lost, operators go by it (rule T9)."""
        marks, layout = self._engine.corrupt_ranges(), self._layout_by_document()
        parts = [part for start, end in _joined(marks) for part in layout.within(start, end)]
        return len({part.partition for part in parts if part.kind in _MERGED})

    async def run(self) -> None:
        """Heal until cancelled; sleeps while nothing is damaged."""
        while True:
            await self._engine.damage_found.wait()
            pause_s, before = FIRST_PAUSE_S, self.healed
            while self._engine.corrupt_ranges():
                self._engine.damage_found.clear()
                if await self.round():
                    break
                self._count_whole()
                try:
                    async with asyncio.timeout(pause_s):
                        await self._engine.damage_found.wait()
                except TimeoutError:
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._engine.damage_found.clear()
            self.loss.end()
            if self.healed > before:
                _log.info("healed: %d damaged parts were merged from other copies", self.healed - before)
            self._logged.clear()
            self._uncounted.clear()
            self._objects.count_again()

    def _count_whole(self) -> None:
        """Have copies that are whole again counted, though others still wait (rule H10)."""
        may_lack = self._engine.may_lack
        if whole := [prefix for prefix in self._uncounted if not may_lack(prefix, prefix_end(prefix))]:
            for prefix in whole:
                del self._uncounted[prefix]
            self._objects.count_again()

    def accept_loss(self, nodes: Collection[NodeId]) -> None:
        """Heal what is damaged without these owners.  Raises InvalidArgument for one not waited for."""
        self.loss.accept(nodes)
        _log.warning(
            "damaged ranges are healed without %s: their loss was accepted", ", ".join(sorted(nodes))
        )
        self._engine.damage_found.set()  # a round begins now

    async def round(self) -> bool:
        """Heal what can be healed now.  Returns whether nothing is left.

        A part is healed once for all marks that overlap it, and marks are removed for many parts at a time,
        because each removal is a synced write.
        """
        self._silent.clear()
        marks = tuple(self._engine.corrupt_ranges())
        layout = self._layout()
        parts = [part for start, end in _joined(marks) for part in layout.within(start, end)]
        healed: list[Part] = []
        for part in sorted(parts, key=lambda each: _FIRST.get(each.kind, 2)):
            self.now = str(part)
            reached = [part.start]
            try:
                await self._heal(part, reached.append)
                healed.append(part)
                self.loss.healed(part)
                if part.kind in _FIRST or len(healed) >= PARTS_AT_ONCE:
                    await self._lift(marks, healed)
            except (RingmillError, OSError) as error:
                sometimes("a damaged range has to wait for its sources")
                if part.start < reached[-1] and part not in healed:  # the next round begins behind it
                    healed.append(replace(part, end=reached[-1]))
                self.loss.note(part, error)
                self._tell_once(f"{part} cannot be healed yet: {error}")
            finally:
                self.now = ""
        try:
            await self._lift(marks, healed)
        except (RingmillError, OSError) as error:
            self._tell_once(f"healed ranges cannot be noted yet: {error}")
        return not self._engine.corrupt_ranges()

    async def _lift(self, marks: Sequence[CorruptMark], healed: list[Part]) -> None:
        """Remove healed parts from all marks and from the list."""
        for start, end in _joined(healed):
            for mark in marks:
                if (mark.end is None or start < mark.end) and (end is None or mark.start < end):
                    await self._engine.mark_healed(mark, start, end)
        self.healed += sum(part.kind in _MERGED for part in healed)
        healed.clear()

    def _layout(self) -> Layout:
        """Only control state may be healed by a node that does not serve: its topology may be an old one."""
        return self._layout_by_document() if self._topology.serving else layout_of(None, self._node)

    def _layout_by_document(self) -> Layout:
        topology = self._topology.current
        epoch = topology.epoch if topology is not None else 0
        if self._known is None or self._known[0] != epoch:
            self._known = epoch, layout_of(topology, self._node)
        return self._known[1]

    async def _heal(self, part: Part, reached: Reached) -> None:
        """Raises RingmillError and OSError when it cannot be done now."""
        match part.kind:
            case PartKind.CONTROL:
                await self._control.put_back()
                sometimes("damaged control state is put back")
            case PartKind.HINTS:
                _log.warning("hints may be lost: all owners are compared, to find who misses a write")
                sometimes("owners are compared as hints may be lost")
                self._on_lost_hints()
            case PartKind.COPY:
                await self._heal_copy(part, reached)
            case PartKind.REGISTERS:
                await self._heal_registers(part, reached, self._silent)
            case PartKind.ORPHANED:
                self._tell_of_former(part)

    def _tell_of_former(self, part: Part) -> None:
        """Log what is given up of former copies that are still stored, as far as these are counted."""
        for copy in self._objects.copies():
            prefix = copy_prefix(copy)
            if part.start < prefix_end(prefix) and (part.end is None or prefix < part.end):
                self._objects.sums.forget(prefix)  # what was lost cannot be taken out
                self._uncounted[prefix] = None
                _log.warning(
                    "a former copy of partition %d is damaged: what survived is kept", copy.partition
                )

    async def _heal_copy(self, part: Part, reached: Reached) -> None:
        assert part.partition is not None and part.row is not None and part.end is not None
        if self._is_of_gone(part.start, part.end):
            await self._objects.heal(part.start, part.end, {}, knows_deletes=False)
            return
        if attempt := self._watermarks.of(part.partition).kept.attempt:
            # What survived may be a value that the others have forgotten (rule P5): first it has to be known.
            raise Unavailable(f"whether watermark {attempt} was proven is not known yet")
        copy = Copy(part.partition, part.row.copy_epoch_of(self._node))
        prefix = copy_prefix(copy)
        others = [node for node in part.row.whole if node != self._node]
        self.loss.check_has_source(self._node, others)
        usual = self._usual_sources(part.row, others)
        need = self.loss.sources_needed(part.partition, others, usual)
        if need < part.row.size - self._least_w() + 1:
            why = "as a loss was accepted" if self.loss.given_up else "all there are"
            self._tell_once(f"{part} is healed from {need} other owners, {why}")
        start = part.start
        self._uncounted[prefix] = None
        while start < part.end:
            pages = await self._ask(part.row, part.partition, start[len(prefix) :], part.end, prefix, usual)
            ends = (prefix + page.covered_to if page.covered_to else part.end for page in pages)
            stop = min(ends, default=part.end)
            found: dict[bytes, list[bytes]] = {}
            for page in pages:
                for key, encoded in page.items:
                    if prefix + key < stop and not self._objects.gone.has_key(key):
                        found.setdefault(prefix + key, []).append(encoded)
            await self._objects.heal(start, stop, found, knows_deletes=bool(pages))
            sometimes("a damaged range is healed from other owners")
            start = stop
            reached(start)
            size_bytes = sum(len(encoded) for copies in found.values() for encoded in copies)
            await asyncio.sleep(size_bytes / BYTES_PER_S * self._gate.stretch)  # requests go first (rule O8)

    def _is_of_gone(self, start: bytes, end: bytes) -> bool:
        """Whether a range has keys of one keyspace only, which was dropped: nobody reads what survived, and
        it is removed next (rule P6)."""
        size, prefix = COPY_PREFIX_BYTES, start[:COPY_PREFIX_BYTES]
        return end.startswith(prefix) and self._objects.gone.covers(start[size:], end[size:])

    def _usual_sources(self, row: Row, others: Sequence[NodeId]) -> int:
        """The number of other owners whose copies are needed while no loss is accepted."""
        return min(row.size - self._least_w() + 1, len(others))

    def _least_w(self) -> int:
        topology = self._topology.current
        assert topology is not None, "a row without a topology"
        return min(keyspace.w for keyspace in topology.keyspaces if keyspace.kind == "objects")

    async def _ask(
        self, row: Row, partition: PartitionId, start: bytes, end: bytes, prefix: bytes, usual: int
    ) -> list[Page]:
        """A page from every other owner that can give one.  Raises Unavailable when these are too few."""
        topology = self._topology.current
        assert topology is not None, "a row without a topology"
        whole_copy = not end.startswith(prefix)
        request = ReadPage(topology.epoch, partition, start, b"" if whole_copy else end[len(prefix) :])
        others = [node for node in row.whole if node != self._node]
        pages: dict[NodeId, Page] = {}
        failures: dict[NodeId, str] = {}

        async def ask(node: NodeId) -> None:
            try:
                with self._crossings.within(node) as timeout_s:
                    page = await ask_page(self._transport, node, request, row, timeout_s=timeout_s)
                if any(key < start for key, _ in page.items):  # what is there was not looked at
                    raise ProtocolMismatch(f"{node} answered with keys before those that were asked for")
                pages[node] = page
            except RingmillError as error:
                failures[node] = reason_of(error)
                if isinstance(error, Unavailable | DeadlineExceeded):
                    self._silent.add(node)

        async with asyncio.TaskGroup() as group:
            for node in others:
                if node in self._silent:
                    failures[node] = "silent"
                else:
                    group.create_task(ask(node))
        if not self.loss.are_enough(partition, pages, others, usual):
            need = self.loss.sources_needed(partition, others, usual)
            why = "; ".join(f"{node}: {reason}" for node, reason in sorted(failures.items()))
            raise Unavailable(
                f"{need} other owners are needed, {len(pages)} answered ({why})",
                detail={"missing": sorted(failures)},
            )
        return list(pages.values())

    def _tell_once(self, story: str) -> None:
        if story not in self._logged:
            self._logged[story] = None
            _log.warning("%s", story)


class _Span(Protocol):
    @property
    def start(self) -> bytes: ...

    @property
    def end(self) -> bytes | None: ...


def _joined(spans: Iterable[_Span]) -> Iterator[tuple[bytes, bytes | None]]:
    """What they cover, as ranges that neither overlap nor touch, in key order."""
    low: bytes | None = None
    high: bytes | None = b""
    for span in sorted(spans, key=lambda each: each.start):
        if low is not None and high is not None and span.start > high:
            yield low, high
            low = None
        if low is None:
            low, high = span.start, span.end
        elif high is not None:
            high = None if span.end is None else max(high, span.end)
    if low is not None:
        yield low, high
