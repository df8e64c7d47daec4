"""Coordinates one page of a scan: asks r owners of partition after partition, and merges what they hold.

A page ends when it is full, when it has taken long enough, or at the end of the way.  Whatever it found, the
place where it ends lies behind the place where it began (rule L5).  Nothing is kept between two pages, and
nothing is repaired: differences between owners are left to reads and to repair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from ringmill.cluster.errors import QuorumNotReached, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.levels import parse_level
from ringmill.cluster.ring.topology import KeyspaceEntry, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.contracts import TimeKeeper, TopologyView
from ringmill.node.replica.routes import Routes
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.request_limits import check_shown, time_allowed
from ringmill.node.requests.scans.merging import OwnerRange, end_of, keys_before, merged_of
from ringmill.node.requests.scans.owner_ranges import OwnerRanges
from ringmill.node.requests.scans.page_filling import PageFilling, checked_limit
from ringmill.node.requests.scans.scan_values import HeldAt, ScannedKey, ScanRequest, ScanResult
from ringmill.node.requests.scans.walk import Step, Walk, walk_of

__all__ = ["Scanner"]

PAGE_S: Final = 1.0
"""A page that takes longer ends with what it has, so that a client sees progress.  Chosen, not measured."""
MOST_AHEAD: Final = 8
"""Partitions read at a time while they hold little: each may bring 256 KiB from each owner."""
LITTLE: Final = 32
"""Keys of a partition that holds little."""
TURN: Final = 64
"""Keys merged in one turn of the loop: about 1 ms."""


class _Scan(NamedTuple):
    """One page: the topology that it goes by, and what it asks of each partition."""

    topology: Topology
    keyspace: KeyspaceEntry
    walk: Walk
    level: str
    begun: Step | None
    deadline: Deadline
    deleted_too: bool
    snapshot: HeldAt | None


class Scanner:
    def __init__(
        self,
        *,
        routes: Routes,
        topology: TopologyView,
        ranges: OwnerRanges,
        hybrid: HybridClock,
        timekeeper: TimeKeeper,
        clock: Clock,
        seal: ContextSeal,
    ) -> None:
        self._routes = routes
        self._topology = topology
        self._ranges = ranges
        self._hybrid = hybrid
        self._timekeeper = timekeeper
        self._clock = clock
        self._seal = seal

    async def page(self, request: ScanRequest) -> ScanResult:
        """The keys that come next, each with what it holds; those without a value are left out, unless asked
        for.

        Raises InvalidArgument, WrongEpoch, Unavailable; QuorumNotReached when fewer than r owners tell of the
        place where the page begins.
        """
        deadline = Deadline.after(time_allowed(request.options.timeout_s, request.left_s), self._clock)
        filling = PageFilling(checked_limit(request.limit), request.keys_only)
        topology, keyspace = await self._routes.objects_named(
            request.keyspace, request.epoch, deadline.left_s
        )
        row, level = topology.rows[0], request.options.level
        is_weak = parse_level(level, row.size, keyspace.r) < row.level(keyspace.r)
        walk, begun = walk_of(request, keyspace.id, topology.partitions)
        ended = await self._fill(
            _Scan(topology, keyspace, walk, level, begun, deadline, request.deleted_too, request.snapshot),
            filling,
        )
        return ScanResult(
            items=tuple(filling.items),
            cursor=walk.cursor(ended),
            is_weak=is_weak,
            epoch=topology.epoch,
            time=self._hybrid.now(),
            partition=walk.last if ended is None else ended.partition,
            partitions=topology.partitions,
            judged_at_ms=self._hybrid.expiry_ms() if _expires(filling.items) else 0,
        )

    async def _fill(self, scan: _Scan, filling: PageFilling) -> Step | None:
        """Where the page ends; None at the end of the way."""
        step, width = scan.begun, 1
        soon = Deadline.after(min(PAGE_S, scan.deadline.allowed_s / 2), self._clock)
        while step is not None and filling.has_room:
            has_moved = step != scan.begun
            if has_moved and soon.left_s <= 0:
                break
            steps, had = scan.walk.ahead(step, width), len(filling.items)
            answered = await gather_all(
                self._read(scan, at, soon if has_moved else scan.deadline) for at in steps
            )
            for at, answers in zip(steps, answered, strict=True):
                if isinstance(answers, RingmillError):
                    if at == scan.begun:
                        raise answers
                    return at  # the next page tells why it cannot go on
                step = await self._take(scan, at, answers, filling)
                if step is not None and step.partition == at.partition:
                    break
            is_little = len(filling.items) - had < LITTLE * len(steps)
            width = min(2 * width, MOST_AHEAD) if is_little else 1
        return step

    async def _read(self, scan: _Scan, at: Step, deadline: Deadline) -> Sequence[OwnerRange] | RingmillError:
        """What r owners hold from there on, or why they do not tell."""
        topology = scan.topology
        try:
            row = self._topology.check_row(at.partition, topology.epoch)
            r = row.readers_for(parse_level(scan.level, row.size, scan.keyspace.r))
            wanted = scan.walk.range_from(at)
            if scan.snapshot is not None:
                wanted = wanted._replace(snapshot=scan.snapshot.name)
            return list((await self._ranges.read(wanted, row, topology.epoch, r, deadline)).values())
        except RingmillError as error:
            return error

    async def _take(
        self, scan: _Scan, at: Step, answers: Sequence[OwnerRange], filling: PageFilling
    ) -> Step | None:
        """Put what the owners hold into the page, as far as there is room.  Returns what comes next.

        Raises QuorumNotReached for a key that no answer has room for, if the page begins with it.
        """
        end, owners = end_of(answers), scan.topology.rows[at.partition].nodes
        for number, key in enumerate(keys_before(answers, end), 1):
            here = Step(at.partition, key)
            try:
                item = await self._shown(scan, key, merged_of(answers, key), owners)
            except QuorumNotReached:
                if here == scan.begun:
                    raise
                return here
            if item is not None and not filling.take(item):
                return here
            if number % TURN == 0:
                await asyncio.sleep(0)
        if end:
            sometimes("a page of an owner ends inside a partition that is scanned")
            return Step(at.partition, end)
        return scan.walk.after(at.partition)

    async def _shown(
        self, scan: _Scan, key: bytes, merged: StoredObject, owners: Sequence[NodeId]
    ) -> ScannedKey | None:
        """What a reader is shown of a key (rules G3, V3); None when it has no value."""
        self._hybrid.observe(merged.newest)
        if scan.snapshot is not None:
            judged_at_ms = scan.snapshot.at_ms
        else:
            if any(sibling.expires_at_ms for sibling in merged.siblings):
                await self._timekeeper.wait_compared(scan.deadline.left_s / 2)
            judged_at_ms = self._hybrid.expiry_ms()
        siblings = merged.shown(scan.keyspace.policy, judged_at_ms)
        if not siblings and (merged.is_absent or not scan.deleted_too):
            return None
        check_shown(merged)
        seen = ContextToken(merged.context, merged.newest)
        token = self._seal.token(seen, scan.keyspace.id, key, merged.siblings, owners)
        return ScannedKey(key, siblings, token)


def _expires(items: Sequence[ScannedKey]) -> bool:
    return any(sibling.expires_at_ms for item in items for sibling in item.siblings)
