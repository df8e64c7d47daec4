"""The side that is asked when two owners compare their copies of a partition.

What is said of a copy is on this node's disk before it is said, so that an owner that counts on it does not
count on what a crash takes away.  A copy that is damaged, or not counted yet, is not spoken of: what may be
lost is no absence (rules H5 and H10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from ringmill.cluster.errors import CorruptData, Overloaded, RingmillError, Unavailable
from ringmill.cluster.os_errors import Meaning, error_text, meaning_of
from ringmill.cluster.ports import Handler, Incoming
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.replica.comparing.comparisons import Comparisons
from ringmill.node.replica.comparing.copy_sums import LeafSums, leaf_of, object_name
from ringmill.node.replica.comparing.exchange_messages import (
    DIFFER,
    DIFFERENCE,
    EQUAL,
    HASH_BYTES,
    NAME_BYTES,
    ROOTS,
    SUMS,
    UNTOLD,
    AskDifference,
    AskRoots,
    AskSums,
    Difference,
    RootOf,
    Sums,
    Verdicts,
)
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import PAGE_BYTES, READ_BYTES
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stored_key import Copy, copy_prefix, prefix_end
from ringmill.node.storage.engine import Engine

__all__ = ["ExchangeServing", "known_sums", "read_difference"]

SCAN_TURN: Final = 256  # objects hashed in one turn of the loop, well under a millisecond


class ExchangeServing:
    """Answers owners that compare."""

    def __init__(
        self, *, routes: Routes, engine: Engine, objects: ObjectStore, comparisons: Comparisons
    ) -> None:
        self._routes = routes
        self._engine = engine
        self._objects = objects
        self._comparisons = comparisons

    def handlers(self) -> Mapping[str, Handler]:
        return {ROOTS: self.roots, SUMS: self.sums, DIFFERENCE: self.difference}

    async def roots(self, incoming: Incoming) -> bytes:
        request = AskRoots.decode(incoming.body)
        verdicts = bytes([await self._judge(one, request, incoming) for one in request.roots])
        await self._objects.wait_synced(is_urgent=False)
        for one, verdict in zip(request.roots, verdicts, strict=True):
            if verdict == EQUAL:
                self._comparisons.note_equal(one.partition, incoming.sender)
        return Verdicts(verdicts).encode()

    async def _judge(self, one: RootOf, request: AskRoots, incoming: Incoming) -> int:
        try:
            row = await self._routes.row_of(one.partition, request.epoch, sender=incoming.sender)
        except RingmillError:
            return UNTOLD
        sums = known_sums(self._engine, self._objects, self._routes.copy_of(one.partition, row))
        if sums is None or row.row_epoch != one.row_epoch:
            return UNTOLD
        return EQUAL if sums.root == one.root else DIFFER

    async def sums(self, incoming: Incoming) -> bytes:
        """Raises WrongEpoch when this node is not an owner, Unavailable when it cannot tell, Overloaded while
        the partition is compared with another owner."""
        request = AskSums.decode(incoming.body)
        row = await self._routes.row_of(request.partition, request.epoch, sender=incoming.sender)
        self._comparisons.give_turn(request.partition, incoming.sender)
        sums = known_sums(self._engine, self._objects, self._routes.copy_of(request.partition, row))
        if sums is None:
            raise Unavailable(f"what partition {request.partition} holds is not known now")
        shown = sums.of_leaves(request.groups) if request.groups else sums.of_groups()
        # later writes are not on the disk by then, so they are not in it
        await self._objects.wait_synced(is_urgent=False)
        return Sums(row.row_epoch, shown).encode()

    async def difference(self, incoming: Incoming) -> bytes:
        """Raises WrongEpoch when this node is not an owner, or the owners change while the range is read;
        CorruptData when it may have lost some of the range, Overloaded while the partition is compared with
        another owner."""
        request = AskDifference.decode(incoming.body)
        row = await self._routes.row_of(request.partition, request.epoch, sender=incoming.sender)
        self._comparisons.give_turn(request.partition, incoming.sender)
        try:
            answer = await read_difference(
                self._engine, request, row, self._routes.copy_of(request.partition, row)
            )
        except OSError as error:
            kind = Overloaded if meaning_of(error) is Meaning.EXHAUSTED else CorruptData
            raise kind(f"partition {request.partition} cannot be read: {error_text(error)}") from error
        await self._objects.wait_synced(is_urgent=False)
        self._routes.check_row(request.partition, row.row_epoch)  # rule M6
        return answer.encode()


def known_sums(engine: Engine, objects: ObjectStore, copy: Copy) -> LeafSums | None:
    """What a copy holds now, synced or not; None when it is damaged or not counted, or may hold what is to be
    removed with its keyspace, which other owners have not or no more (rule P6)."""
    if copy in objects.gone.unswept:
        return None
    prefix = copy_prefix(copy)
    if engine.may_lack(prefix, prefix_end(prefix)):
        sometimes("a damaged copy is not compared")
        return None
    return objects.sums.of(copy)


async def read_difference(engine: Engine, request: AskDifference, row: Row, copy: Copy) -> Difference:
    """What this node holds beside or in place of what the asker named, synced or not; it ends early where
    much was read or is to be sent.  Raises CorruptData when it may have lost some of it, OSError."""
    prefix = copy_prefix(copy)
    end = prefix + request.end if request.end else prefix_end(prefix)
    wanted, names = request.leaves, request.names
    named = {names[at : at + NAME_BYTES]: at // NAME_BYTES for at in range(0, len(names), NAME_BYTES)}
    tags = {name[HASH_BYTES:]: None for name in named}
    items: list[tuple[bytes, bytes]] = []
    contexts: list[tuple[bytes, VersionVector]] = []
    size_bytes = read_bytes = passed = 0
    covered_to = b""
    async with aclosing(engine.scan(prefix + request.start, end)) as scan:
        async for stored_key, encoded in scan:
            key = stored_key[len(prefix) :]
            if passed and (read_bytes > READ_BYTES or size_bytes > PAGE_BYTES):
                covered_to = key
                break
            passed += 1
            read_bytes += len(encoded)
            leaf = leaf_of(key)
            if wanted[leaf >> 3] >> (leaf & 7) & 1:
                name = object_name(key, encoded)
                if named.pop(name, None) is not None:
                    continue
                size_bytes += len(key)
                if name[HASH_BYTES:] in tags:
                    contexts.append((key, decode_object(encoded).context))
                else:
                    items.append((key, encoded))
                    size_bytes += len(encoded)
            if passed % SCAN_TURN == 0:
                await asyncio.sleep(0)
    lacking = bytearray((len(names) // NAME_BYTES + 7) // 8)
    for number in named.values():
        lacking[number >> 3] |= 1 << (number & 7)
    return Difference(row.row_epoch, tuple(items), tuple(contexts), bytes(lacking), covered_to)
