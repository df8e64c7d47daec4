"""Coordinating one read: ask `r` owners, merge, repair what differed, and only then answer.

Reads never go back: before a client sees a result, N - R + 1 owners are known to hold it, by equal answers
or by a synced write-back, so no later read of R owners can miss it (rule G2).  Expiry is judged once, here,
by this node's clock (rule G3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cluster.errors import QuorumNotReached, RingmillError
from cluster.ids import NodeId
from cluster.ports import Clock
from cluster.quorum.levels import holders_for_a_strict_read, parse_level
from cluster.quorum.receipt import Durability
from cluster.versions.context import Context, encode_context
from cluster.versions.hybrid_time import HybridClock
from cluster.versions.object_codec import encode_object
from cluster.versions.objects import StoredObject
from node.replica.routes import Route, Router
from node.requests.background import Background
from node.requests.collect import Collected, Collector
from node.requests.deadline import Deadline
from node.requests.limits import check_key, time_allowed
from node.requests.replicas import Replicas
from node.requests.values import ReadRequest, ReadResult

__all__ = ["Reader"]

REPAIR_PATIENCE_S: Final = 0.25
"""How long an answer waits for write-backs beyond those that the rule needs."""


@dataclass(slots=True)
class Repair:
    """Write-backs of one read: who holds the merged object by now, and why others do not."""

    need: int
    holders: list[NodeId]
    failures: dict[str, str] = field(default_factory=dict)
    written: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_enough(self) -> bool:
        return len(self.holders) >= self.need


class Reader:
    def __init__(
        self,
        *,
        router: Router,
        collector: Collector,
        replicas: Replicas,
        background: Background,
        hybrid: HybridClock,
        clock: Clock,
    ) -> None:
        self._router = router
        self._collector = collector
        self._replicas = replicas
        self._background = background
        self._hybrid = hybrid
        self._clock = clock

    async def read(self, request: ReadRequest) -> ReadResult:
        """What the key holds: no siblings when it is not found, never an error for that.

        Raises InvalidArgument, WrongEpoch, Unavailable, and QuorumNotReached naming who answered and why
        the others did not.
        """
        check_key(request.key)
        deadline = Deadline.after(time_allowed(request.timeout_s), self._clock)
        route = await self._router.by_name(request.keyspace, request.key, request.epoch)
        need = parse_level(request.level, len(route.owners), route.keyspace.r)
        collected = await self._collector.collect(route, need, deadline)
        merged = collected.merged
        self._hybrid.observe(merged.newest)
        repaired = await self._repair(route, collected, merged, deadline)
        seen = Context(merged.context, merged.newest)
        return ReadResult(
            merged.live(self._hybrid.wall_ms()),
            encode_context(seen, route.keyspace.id, route.key),
            tuple(collected.answers),
            repaired,
            is_weak=need < min(route.keyspace.r, len(route.owners)),
            epoch=route.epoch,
            time=self._hybrid.now(),
        )

    async def _repair(
        self, route: Route, collected: Collected, merged: StoredObject, deadline: Deadline
    ) -> int:
        """Write the merged object back to who answered otherwise; how many took it.

        A weak read, whose few answers cannot make the rule good, repairs those it has.
        """
        stale = [node for node, stored in collected.answers.items() if stored != merged]
        if not stale:
            return 0
        equal = [node for node in collected.answers if node not in stale]
        wanted = holders_for_a_strict_read(len(route.owners), route.keyspace.r)
        repair = Repair(min(wanted, len(collected.answers)), equal)
        encoded = encode_object(merged)
        await self._write_back(stale, route, encoded, repair, deadline)
        if not repair.is_enough:
            others = [node for node in route.owners if node not in collected.answers]
            await self._write_back(others, route, encoded, repair, deadline)
        if not repair.is_enough:
            raise QuorumNotReached.of(
                "get (write-back)", repair.need, repair.holders, repair.failures, outcome="failed"
            )
        return repair.written

    async def _write_back(
        self, nodes: Sequence[NodeId], route: Route, encoded: bytes, repair: Repair, deadline: Deadline
    ) -> None:
        """Until all of `nodes` have answered, time is up, or enough have and the rest is slow."""
        over = repair.written + len(repair.failures) + len(nodes)
        for node in nodes:
            self._background.start(self._write_one(node, route, encoded, repair, deadline))
        try:
            async with asyncio.timeout(deadline.left_s) as limit:
                while repair.written + len(repair.failures) < over:
                    await repair.moved.wait()
                    repair.moved.clear()
                    if repair.is_enough:
                        patience_s = min(REPAIR_PATIENCE_S, deadline.left_s)
                        limit.reschedule(asyncio.get_running_loop().time() + patience_s)
        except TimeoutError:
            return

    async def _write_one(
        self, node: NodeId, route: Route, encoded: bytes, repair: Repair, deadline: Deadline
    ) -> None:
        try:
            _, row_epoch = await self._replicas.apply(
                node, route, encoded, Durability.SYNCED, deadline.left_s
            )
            if row_epoch != route.row.row_epoch:
                repair.failures[node] = f"answered under row epoch {row_epoch}"
                return
            repair.written += 1
            repair.holders.append(node)
        except RingmillError as error:
            repair.failures[node] = str(error) or type(error).__name__
        finally:
            repair.moved.set()
