"""Catch-up: compares a node's copies with those of the other owners when hints may be missing.

The coordinator of a write keeps hints for the owners that missed it.  Hints that were not stored yet are lost
with its process, so after a stop that was not clean each partition of this node is compared once: its owners
list their keys with digests, and keys that differ are made equal.  The same happens when damage may have
destroyed hints.  A partition waits until all its owners can be asked (rule H8).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import KeyspaceId, NodeId, PartitionId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ports import Transport
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.replica.pages import Page, ReadPage, ask_page
from ringmill.node.replica.stored_key import Copy, copy_prefix, parse_object_key

__all__ = ["CatchUp"]

# Comparing is in no hurry, as reads and hints make owners equal meanwhile, so it gives way to requests.  All
# of these are chosen, not measured.
CALL_TIMEOUT_S: Final = 5.0  # an owner reads 4 MiB for a page of digests (node/replica/pages.py)
BETWEEN_PAGES_S: Final = 0.02
FIRST_PAUSE_S: Final = 1.0  # short, as after a restart of all nodes the others are up soon
LONGEST_PAUSE_S: Final = 30.0  # an owner that is away may be so for hours
KEYS_AT_ONCE: Final = 16

_log = logging.getLogger(__name__)

Equalize = Callable[[KeyspaceId, bytes], Awaitable[None]]
"""Makes all owners of a key hold the same object.  Raises RingmillError when one of them cannot."""


class CatchUp:
    """`run` it as long as the node runs.  `mended` counts keys on which owners differed."""

    def __init__(
        self,
        node: NodeId,
        *,
        topology: TopologyView,
        liveness: LivenessView,
        transport: Transport,
        equalize: Equalize,
    ) -> None:
        self._node = node
        self._topology = topology
        self._liveness = liveness
        self._transport = transport
        self._equalize = equalize
        self._asked = asyncio.Event()
        self._waiting: dict[PartitionId, None] = {}
        self.mended = 0

    def want(self) -> None:
        """Compare everything that this node owns, from the beginning, because hints may be missing."""
        self._asked.set()

    @property
    def is_done(self) -> bool:
        return not (self._asked.is_set() or self._waiting)

    @property
    def waiting(self) -> Sequence[PartitionId]:
        """The partitions still to be compared; empty until a requested comparison begins."""
        return list(self._waiting)

    async def run(self) -> None:
        """Compare what was requested, until cancelled."""
        await self._topology.wait_formed()
        while True:
            await self._asked.wait()
            pause_s = FIRST_PAUSE_S
            while not self.is_done:
                self._take_on()
                await self._round()
                if self._waiting:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            _log.info(
                "caught up with the other owners: %d keys were not the same since the start", self.mended
            )

    def _take_on(self) -> None:
        if self._asked.is_set():
            self._asked.clear()
            rows = self._rows()
            self._waiting = {PartitionId(n): None for n, row in enumerate(rows) if self._node in row.nodes}

    def _rows(self) -> Sequence[Row]:
        topology = self._topology.current
        assert topology is not None, "a formed cluster has a topology"
        return topology.rows

    async def _round(self) -> None:
        """Try every partition whose owners all seem up."""
        for partition in list(self._waiting):
            row = self._rows()[partition]
            if any(self._liveness.state(node) is not MemberState.UP for node in row.nodes):
                continue
            try:
                await self._compare(partition, row)
            except (RingmillError, OSError) as error:
                sometimes("owners cannot be compared yet")
                _log.debug("partition %d is compared later: %s", partition, error)
                await asyncio.sleep(BETWEEN_PAGES_S)
            else:
                self._waiting.pop(partition, None)

    async def _compare(self, partition: PartitionId, row: Row) -> None:
        """Raises RingmillError and OSError when an owner could not be asked, or a key not be made equal."""
        prefix = copy_prefix(Copy(partition, row.copy_epoch))
        start = b""
        while True:
            pages = await self._pages(partition, row, start)
            stops = [page.covered_to for page in pages if page.covered_to]
            stop = min(stops, default=b"")
            listed = [{key: digest for key, digest in page.items if not stop or key < stop} for page in pages]
            differing = [
                key for key in sorted(set().union(*listed)) if len({keys.get(key) for keys in listed}) > 1
            ]
            for first in range(0, len(differing), KEYS_AT_ONCE):
                places = [parse_object_key(prefix + key) for key in differing[first : first + KEYS_AT_ONCE]]
                places = [place for place in places if not self._is_dropped(place.keyspace)]
                await gather_all(self._equalize(place.keyspace, place.key) for place in places)
                sometimes("owners that differ are made equal")
                self.mended += len(places)
            await asyncio.sleep(BETWEEN_PAGES_S)
            if not stop:
                return
            start = stop

    def _is_dropped(self, keyspace: KeyspaceId) -> bool:
        """Its keys cannot be reached any more, so owners need not agree on them."""
        topology = self._topology.current
        return topology is not None and topology.has_dropped(keyspace)

    async def _pages(self, partition: PartitionId, row: Row, start: bytes) -> list[Page]:
        """What every owner lists from `start` on."""
        topology = self._topology.current
        assert topology is not None, "a formed cluster has a topology"
        request = ReadPage(topology.epoch, partition, start, is_brief=True)
        return await gather_all(
            ask_page(self._transport, node, request, row, timeout_s=CALL_TIMEOUT_S) for node in row.nodes
        )
