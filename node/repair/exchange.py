"""The side that asks when two owners compare their copies of a partition, and makes them equal.

1. Both have said that their roots differ.  Sums of groups of leaves, then of the leaves of groups that
   differ, show where.  Writes under way differ for a moment: leaves that differ are looked at again after a
   pause, and one that was equal at any look needs no more.  A new copy looks once, as its move waits for it.
2. Leaves that still differ are walked in units of a key range.  This node names what it holds there by
   hashes; the other answers with what it holds beside that, and which of them it lacks.  Of a key that both
   hold it tells the context first, so that the older of two objects need not cross.
3. The other's objects are merged in here; then it gets the merge, where it lacks it.  Both ways they are
   ordinary repair writes, synced before the next unit begins.

No unit needs a checkpoint on the disk: what was mended differs no more, so a comparison that was cut off goes
on with what is left.  It begins where it stopped, so that one that is cut off each time gets to all keys.  A
new copy of a partition takes what differs and brings nothing; a former copy brings what the
other lacks and takes nothing.

Rule H10: docs/protocol/repair.md.  Rules M3, M4 and M6: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ringmill.cluster.errors import (
    InvalidArgument,
    ProtocolMismatch,
    RingmillError,
    Stale,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.overload.crossing import Crossings
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.governor import stretch_towards
from ringmill.cluster.ports import BatchTransport, Priority
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dots import EMPTY_VECTOR, VersionVector
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.contracts import TopologyView
from ringmill.node.node_options import CompareOptions
from ringmill.node.replica.comparing.comparisons import Comparisons
from ringmill.node.replica.comparing.copy_sums import (
    GROUP_LEAVES,
    GROUPS,
    LEAVES,
    SUM_BYTES,
    LeafSums,
    leaf_of,
    object_name,
)
from ringmill.node.replica.comparing.exchange_messages import (
    DIFFERENCE,
    NAME_BYTES,
    ROOTS,
    SUMS,
    AskDifference,
    AskRoots,
    AskSums,
    Difference,
    RootOf,
    Sums,
    Verdicts,
)
from ringmill.node.replica.comparing.exchange_serving import SCAN_TURN, known_sums
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import PAGE_BYTES, READ_BYTES
from ringmill.node.replica.replica_messages import (
    DELIVER,
    READ,
    Deliver,
    DeliverAnswer,
    HintItem,
    Read,
    ReadAnswer,
)
from ringmill.node.replica.stored_key import Copy, copy_prefix, parse_copy, parse_object_key, prefix_end
from ringmill.node.storage.engine import Engine

__all__ = ["Exchange"]

CALL_TIMEOUT_S: Final = 5.0
FEW_LEAVES: Final = 8  # as many may differ by writes under way; more are not looked at again
READS_AT_ONCE: Final = 64
MOST_PLACES: Final = 256
UNIT_ITEMS: Final = 8192  # named in one message: 96 KiB


@dataclass(slots=True)
class _Unit:
    """What this node holds of the leaves in [start, end) of a copy, in key order."""

    end: bytes = b""
    keys: list[bytes] = field(default_factory=list)
    objects: list[bytes] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)


class _Peer(NamedTuple):
    """The owner that this node compares with, under one row.

    `prefix` is that of this node's copy, `attempt` names what they are compared for (rule P2).
    `receives`: this node brings the peer what it lacks; a new copy does not (rule M3).
    `sends`: this node takes from the peer what it lacks itself; a former copy does not (rule M6).
    """

    node: NodeId
    row: Row
    prefix: bytes
    attempt: str = ""
    receives: bool = True
    sends: bool = True


class Exchange:
    def __init__(
        self,
        node: NodeId,
        *,
        engine: Engine,
        objects: ObjectStore,
        comparisons: Comparisons,
        topology: TopologyView,
        transport: BatchTransport,
        options: CompareOptions,
        gate: Gate,
    ) -> None:
        self._node = node
        self._gate = gate
        self._engine = engine
        self._objects = objects
        self._comparisons = comparisons
        self._topology = topology
        self._transport = transport
        self._options = options
        self._crossings = Crossings(CALL_TIMEOUT_S)
        self._places: dict[tuple[bytes, NodeId], bytes] = {}  # where walks stopped, by prefix and peer

    def root(self, partition: PartitionId, row: Row) -> RootOf | None:
        """What this node holds, synced or not; None when it cannot tell."""
        copy = self._copy_of(partition, row)
        sums = known_sums(self._engine, self._objects, copy)
        if sums is not None:
            return RootOf(partition, row.row_epoch, sums.root)
        is_swept = copy not in self._objects.gone.unswept
        if is_swept and self._objects.is_counted and not self._engine.corrupt_ranges():
            self._objects.count_again()  # a read failed that may not fail again
        return None

    async def compare_roots(self, peer: NodeId, roots: Sequence[RootOf]) -> bytes:
        """What another owner says to each of these roots, which are on this node's disk by then.

        Raises what the call raises.
        """
        await self._objects.wait_synced(is_urgent=False)
        body = await self._ask(peer, ROOTS, AskRoots(self._epoch, tuple(roots)).encode())
        return Verdicts.decode(body, len(roots)).each

    async def mend(self, partition: PartitionId, row: Row, peer: NodeId, attempt: str = "") -> None:
        """Make two copies equal that differ: both hold, synced, what either held when this began.  `attempt`
        is the one to prove a watermark that this is done for, "" for none.

        Raises RingmillError and OSError when it cannot be done now.
        """
        self._comparisons.take_turn(partition, peer)
        try:
            copy = self._copy_of(partition, row)
            leaves = await self._differing(copy, row, peer, self._options.looks)
            if leaves:
                self._comparisons.differing += 1
                await self._walk(_Peer(peer, row, copy_prefix(copy), attempt), leaves)
            else:
                sometimes("copies that differed for a moment need no repair")
        finally:
            self._comparisons.end_turn(partition)

    async def pull(
        self, partition: PartitionId, row: Row, peer: NodeId, came_to: Callable[[bytes], None]
    ) -> int:
        """Make this node's copy hold, synced, what the other held when this began, and bring it nothing.

        It looks once, without a pause: an epoch waits for it, and a write under way costs a short walk.
        `came_to` is told the key that each part of the walk ends at, b"" for the last one.
        Returns the bytes of objects that came.  Raises RingmillError and OSError when it cannot be done now.
        """
        self._comparisons.take_turn(partition, peer)
        try:
            copy = self._copy_of(partition, row)
            leaves = await self._differing(copy, row, peer, 1)
            other = _Peer(peer, row, copy_prefix(copy), receives=False)
            return await self._walk(other, leaves, came_to) if leaves else 0
        finally:
            self._comparisons.end_turn(partition)

    async def push(self, copy: Copy, row: Row, peer: NodeId) -> None:
        """Make an owner's copy hold, synced, what a former copy of this node holds, and take nothing.

        What the owner knows to be deleted and forgotten (rule P3) it need not hold.
        Raises RingmillError and OSError when it cannot be done now.
        """
        self._comparisons.take_turn(copy.partition, peer)
        try:
            leaves = await self._differing(copy, row, peer, 1)
            if leaves:
                await self._walk(_Peer(peer, row, copy_prefix(copy), sends=False), leaves)
        finally:
            self._comparisons.end_turn(copy.partition)

    def _copy_of(self, partition: PartitionId, row: Row) -> Copy:
        return Copy(partition, row.copy_epoch_of(self._node))

    async def _differing(self, copy: Copy, row: Row, peer: NodeId, looks: int) -> list[int]:
        """The leaves that were equal at none of `looks` looks; of a small copy those whose groups were."""
        partition, mine = copy.partition, await self._mine(copy)
        is_small = mine.items * NAME_BYTES < LEAVES * SUM_BYTES  # their names are shorter than the sums
        groups = bytes(_unequal(mine.of_groups(), await self._sums(partition, row, peer, b"")))
        leaves = [
            leaf for group in groups for leaf in range(group * GROUP_LEAVES, (group + 1) * GROUP_LEAVES)
        ]
        look, differing = (1, len(groups)) if is_small else (0, 0)
        while groups and look < looks and differing <= FEW_LEAVES:
            if look:
                await asyncio.sleep(self._options.settle_s)
            asked = b"" if is_small else groups
            mine = await self._mine(copy)
            theirs = await self._sums(partition, row, peer, asked)
            if is_small:
                unequal = {*_unequal(mine.of_groups(), theirs)}
                leaves = [leaf for leaf in leaves if leaf // GROUP_LEAVES in unequal]
            else:
                found = _unequal(mine.of_leaves(groups), theirs)
                unequal = {groups[at // GROUP_LEAVES] * GROUP_LEAVES + at % GROUP_LEAVES for at in found}
                leaves = [leaf for leaf in leaves if leaf in unequal]
            groups = bytes(sorted({leaf // GROUP_LEAVES for leaf in leaves}))
            differing = len(unequal)
            look += 1
        return leaves

    async def _walk(
        self, other: _Peer, leaves: Sequence[int], came_to: Callable[[bytes], None] = lambda _: None
    ) -> int:
        """Returns the bytes of objects moved.  Begins where the last one was cut off, and comes to what lies
        before that at its end."""
        bits = bytearray(LEAVES // 8)
        for leaf in leaves:
            bits[leaf >> 3] |= 1 << (leaf & 7)
        place = other.prefix, other.node
        first = start = self._places.pop(place, b"")
        is_past_end, too_large, in_all = not first, None, 0
        while True:
            moved, left, following = await self._walk_unit(other, bytes(bits), start)
            in_all += moved
            too_large = left or too_large
            start = following
            came_to(start)
            self._places.pop(place, None)
            if is_past_end and (not start or (first and start >= first)):
                if too_large is not None:
                    raise too_large
                return in_all
            is_past_end = is_past_end or not start
            self._places[place] = start
            while len(self._places) > MOST_PLACES:
                del self._places[next(iter(self._places))]
            pause_s = moved * self._options.at_once / self._options.bytes_per_s
            stretch = stretch_towards(self._gate.stretch, self._transport.busy().get(other.node, 0))
            await asyncio.sleep(pause_s * stretch)  # requests go first (rule O8)

    async def _walk_unit(
        self, other: _Peer, bits: bytes, start: bytes
    ) -> tuple[int, InvalidArgument | None, bytes]:
        """As `_equalize`, and where the next unit begins, b"" at the end."""
        unit = await self._read(other.prefix, bits, start)
        await self._objects.wait_synced(is_urgent=False)
        partition, names = parse_copy(other.prefix).partition, b"".join(unit.names)
        request = AskDifference(self._epoch, partition, bits, start, unit.end, names)
        body = await self._ask(other.node, DIFFERENCE, request.encode())
        answer = Difference.decode(body, len(unit.names))
        _check_row(other.node, other.row, answer.row_epoch)
        if answer.covered_to and answer.covered_to <= start:
            raise ProtocolMismatch(f"{other.node} answered with a unit that does not lead on")
        moved, too_large = await self._equalize(other, unit, answer)
        return moved, too_large, answer.covered_to or unit.end

    async def _read(self, prefix: bytes, bits: bytes, start: bytes) -> _Unit:
        """Raises CorruptData when this node may have lost some of it, OSError."""
        unit = _Unit()
        read_bytes = passed = 0
        async with aclosing(self._engine.scan(prefix + start, prefix_end(prefix))) as scan:
            async for stored_key, encoded in scan:
                key = stored_key[len(prefix) :]
                if passed and (read_bytes > READ_BYTES or len(unit.keys) == UNIT_ITEMS):
                    unit.end = key
                    return unit
                passed += 1
                read_bytes += len(encoded)
                leaf = leaf_of(key)
                if bits[leaf >> 3] >> (leaf & 7) & 1:
                    unit.keys.append(key)
                    unit.objects.append(encoded)
                    unit.names.append(object_name(key, encoded))
                if passed % SCAN_TURN == 0:
                    await asyncio.sleep(0)
        return unit

    async def _equalize(
        self, other: _Peer, unit: _Unit, answer: Difference
    ) -> tuple[int, InvalidArgument | None]:
        """Merge in what the peer sends, and bring it what it lacks if it receives.

        Returns the bytes of objects moved, and why one of them could not be brought: it is too large to cross
        between nodes, which must not keep the others waiting.  Where some of the peer's objects do not come,
        those that did are merged first, so that the next comparison goes on with what is left.
        """
        prefix = other.prefix
        theirs: list[tuple[bytes, bytes]] = []
        failure: Exception | None = None
        if other.sends:
            newer, failure = await self._newer(other, unit, answer.contexts)
            has_gone = self._objects.gone.has_key  # the peer has yet to remove it (rule P6)
            theirs = [each for each in (*answer.items, *newer) if not has_gone(each[0])]
        merged: dict[bytes, bytes] = {}
        for key, encoded in theirs:
            place = parse_object_key(prefix + key)
            applied = await self._objects.apply(
                place, decode_object(encoded), other.attempt, of_owner=not other.receives
            )
            merged[key] = b"" if applied.encoded == encoded else applied.encoded
        await self._objects.wait_synced(is_urgent=False)
        self._comparisons.pulled += len(theirs)
        if theirs:
            sometimes("an owner gets what only another one held")
        if failure is not None:
            raise failure
        moved, too_large = sum(len(key) + len(encoded) for key, encoded in theirs), None
        if not other.receives:
            self._comparisons.moved_bytes += moved
            return moved, None
        lacking = {
            key: encoded
            for number, (key, encoded) in enumerate(zip(unit.keys, unit.objects, strict=True))
            if answer.lacking[number >> 3] >> (number & 7) & 1
            and (not answer.covered_to or key < answer.covered_to)
        }
        wanted = [(key, encoded) for key, encoded in sorted({**lacking, **merged}.items()) if encoded]
        for batch in _batches(wanted):
            size = sum(len(key) + len(encoded) for key, encoded in batch)
            try:
                await self._bring(other, batch)
                moved += size
            except InvalidArgument as error:  # over the limit of a frame; alone, as it is larger than a batch
                too_large = InvalidArgument(f"an object of {size} bytes cannot cross: {error.message}")
        self._comparisons.moved_bytes += moved
        return moved, too_large

    async def _newer(
        self, other: _Peer, unit: _Unit, contexts: Sequence[tuple[bytes, VersionVector]]
    ) -> tuple[list[tuple[bytes, bytes]], Exception | None]:
        """The peer's objects of these keys, without those that this node's objects have replaced; and why
        there may be more of them."""
        ours = dict(zip(unit.keys, unit.objects, strict=True)) if contexts else {}
        asked = []
        for key, context in contexts:
            if self._objects.gone.has_key(key):
                continue
            own = decode_object(ours[key]).context if key in ours else EMPTY_VECTOR
            if own == context or own.join(context) != own:
                asked.append(key)
            else:
                sometimes("the older of two objects is not asked for")
        found: list[tuple[bytes, bytes]] = []
        failures: list[Exception] = []

        async def read(key: bytes) -> None:
            try:
                found.append(await self._object_of(other, key))
            except (RingmillError, OSError) as error:
                failures.append(error)

        sized = [(key, ours.get(key, b"")) for key in asked]  # theirs are about as large
        for batch in _batches(sized, READS_AT_ONCE):
            await gather_all(read(key) for key, _ in batch)
            if failures:
                break
        return sorted(each for each in found if each[1]), failures[0] if failures else None

    async def _object_of(self, other: _Peer, key: bytes) -> tuple[bytes, bytes]:
        """What the peer holds of a key, durable there."""
        place = parse_object_key(other.prefix + key)
        body = await self._ask(other.node, READ, Read(self._epoch, place.keyspace, place.key).encode())
        return key, ReadAnswer.decode(body).encoded

    async def _bring(self, other: _Peer, batch: Sequence[tuple[bytes, bytes]]) -> None:
        """Raises what the call raises, Unavailable when something is refused."""
        places = [parse_object_key(other.prefix + key) for key, _ in batch]
        items = [
            HintItem(place.keyspace, place.key, encoded)
            for place, (_, encoded) in zip(places, batch, strict=True)
        ]
        body = await self._ask(
            other.node, DELIVER, Deliver(self._epoch, tuple(items), other.attempt).encode()
        )
        refused = [refusal for refusal in DeliverAnswer.decode(body, len(items)).refusals if refusal]
        if not other.sends:
            refused = [refusal for refusal in refused if not refusal.startswith(Stale.code)]
        self._comparisons.pushed += len(items) - len(refused)
        sometimes("an owner brings another one what it lacks")
        if refused:
            raise Unavailable(f"{other.node} refused {len(refused)} of {len(items)} objects: {refused[0]}")

    async def _mine(self, copy: Copy) -> LeafSums:
        """What is on this node's disk.  Raises Unavailable when it cannot tell."""
        sums = known_sums(self._engine, self._objects, copy)
        if sums is None:
            raise Unavailable(f"what partition {copy.partition} holds here is not known now")
        await self._objects.wait_synced(is_urgent=False)
        return sums

    async def _sums(self, partition: PartitionId, row: Row, peer: NodeId, groups: bytes) -> bytes:
        body = await self._ask(peer, SUMS, AskSums(self._epoch, partition, groups).encode())
        answer = Sums.decode(body, len(groups) * GROUP_LEAVES if groups else GROUPS)
        _check_row(peer, row, answer.row_epoch)
        return answer.sums

    @property
    def _epoch(self) -> Epoch:
        return self._topology.serving_topology().epoch

    async def _ask(self, peer: NodeId, method: str, request: bytes) -> bytes:
        with self._crossings.within(peer, len(request)) as timeout_s:
            body = await self._transport.call(
                peer, method, request, timeout_s=timeout_s, priority=Priority.REPAIR
            )
        self._comparisons.wire_bytes += len(request) + len(body)
        return body


def _check_row(peer: NodeId, row: Row, row_epoch: Epoch) -> None:
    if row_epoch != row.row_epoch:
        raise WrongEpoch(f"{peer} answered under row epoch {row_epoch}, not {row.row_epoch}")


def _unequal(mine: bytes, theirs: bytes) -> list[int]:
    """The numbers of the sums that differ."""
    return [
        at // SUM_BYTES
        for at in range(0, len(mine), SUM_BYTES)
        if mine[at : at + SUM_BYTES] != theirs[at : at + SUM_BYTES]
    ]


def _batches(
    items: Sequence[tuple[bytes, bytes]], most: int = sys.maxsize
) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    """Up to the size of a page each; a larger object goes alone."""
    batch: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    for key, encoded in items:
        size = len(key) + len(encoded)
        if batch and (size_bytes + size > PAGE_BYTES or len(batch) == most):
            yield batch
            batch, size_bytes = [], 0
        batch.append((key, encoded))
        size_bytes += size
    if batch:
        yield batch
