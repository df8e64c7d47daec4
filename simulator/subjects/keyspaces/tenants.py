"""Clients that write to keyspaces which others make and drop, and what is left of dropped ones (C24)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.routing.directory import Directory
from ringmill.cluster.errors import RingmillError
from ringmill.node.assembly import Node
from ringmill.node.replica.stored_key import (
    Kind,
    kind_prefix,
    parse_hint_key,
    parse_object_key,
    prefix_end,
)
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.subjects.planned_client import PlannedClient
from ringmill.simulator.subjects.working_off import client_in
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.world import World

__all__ = ["Tenants"]

_SESSIONS: Final = 2
_PUTS: Final = 60
_KEYS: Final = 24
_LONGEST_PAUSE_S: Final = (0.05, 0.3)
_LEVELS: Final[tuple[int | None, ...]] = (None, 1, 3)
_KINDS: Final = (Kind.OBJECT, Kind.REGISTER, Kind.HINT)


class _Put(NamedTuple):
    keyspace: str
    key: bytes
    value: bytes
    level: int | None
    pause_s: float


class _TenantSession(PlannedClient):
    answered = 0

    async def work(self, puts: Sequence[_Put]) -> None:
        """One put after the other.  Any of them may fail: the keyspace may be gone, or not there yet."""
        operations = OperationNames(self._entropy, self._router.directory)
        for put in puts:
            await asyncio.sleep(put.pause_s)
            keyspace = AsyncKeyspace(put.keyspace, self._router, operations)
            with suppress(RingmillError):
                await keyspace.put(put.key, put.value, w=put.level, timeout=self._timeout_s)
                self.answered += 1


class Tenants:
    def __init__(self, seed: int, keyspaces: Sequence[str]) -> None:
        self._seed = seed
        self._keyspaces = keyspaces
        self.names = [f"kt{number}" for number in range(_SESSIONS)]
        self._left: dict[str, int] = {}
        self.answered = 0
        """Puts that were acknowledged."""

    def act(self, world: World) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._work(world, name) for name in self.names]

    async def _work(self, world: World, name: str) -> None:
        draws = stream(self._seed, f"client/{name}")
        longest_s = draws.choice(_LONGEST_PAUSE_S)
        puts = [
            _Put(
                draws.choice(self._keyspaces),
                b"t%d" % draws.randrange(_KEYS),
                b"%s %d" % (name.encode(), number),
                draws.choice(_LEVELS),
                longest_s * draws.random(),
            )
            for number in range(_PUTS)
        ]
        addresses = list(world.addresses)
        timeout_s = draws.choice((0.3, 1.0, 5.0))
        process, session = client_in(world, _TenantSession, name, self._seed, timeout_s, addresses, Directory)

        async def work() -> None:
            async with session:
                try:
                    await session.work(puts)
                finally:
                    self.answered += session.answered

        await world.loop.spawn(process, work())

    @staticmethod
    def story(world: World) -> str:
        """Which nodes have yet to remove something, though nothing that they hold is damaged; "": none."""
        return "; ".join(
            f"{process.name}: {process.node.repair.keyspaces.story}"
            for process in world.living()
            if process.node is not None
            and process.serves
            and not process.node.repair.keyspaces.is_done
            and not _is_damaged(process.node)
        )

    async def look(self, world: World) -> None:
        """Count what is left of dropped keyspaces in each store."""
        for process in world.living():
            if (node := process.node) is not None and process.serves and not _is_damaged(node):
                with suppress(RingmillError, OSError):  # what cannot be read is healed or merged again
                    self._left[process.name] = await process.inside(_count_left(node))

    def check(self) -> Iterator[Violation]:
        """Nothing of a dropped keyspace is left at a node that could be looked at."""
        for name, count in sorted(self._left.items()):
            if count:
                yield Violation("C24", b"", f"{name} holds {count} keys of dropped keyspaces in the end")


def _is_damaged(node: Node) -> bool:
    return bool(node.replica.engine.corrupt_ranges())


async def _count_left(node: Node) -> int:
    """Keys of dropped keyspaces in copies that this node has a seat for, and in hints."""
    topology, own = node.membership.topology.serving_topology(), node.core.node
    found = 0
    seats = [(number, row.copy_epoch_of(own)) for number, row in enumerate(topology.rows) if own in row.whole]
    for kind in _KINDS:
        start = kind_prefix(kind)
        async for key, _ in node.replica.engine.scan(start, prefix_end(start)):
            if kind is Kind.HINT:
                found += topology.has_dropped(parse_hint_key(key).keyspace)
            else:
                place = parse_object_key(key)
                is_own = (place.copy.partition, place.copy.copy_epoch) in seats
                found += is_own and topology.has_dropped(place.keyspace)
    return found
