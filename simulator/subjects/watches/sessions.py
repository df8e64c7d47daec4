"""Clients that watch: the production client, what it was told kept as a record.

Links are simulated here; a run of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Final, Unpack

from ringmill.client.arguments import Level
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.values import KeyChange
from ringmill.cluster.versions.context_token import told_by
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing
from ringmill.simulator.subjects.watches.checkers import ShownChange
from ringmill.simulator.subjects.watches.workload import TAG
from ringmill.simulator.world.world import DEFAULT_KEYSPACE

__all__ = ["OF_KEYS", "OF_PREFIX", "WATCHERS", "WatchSession"]

OF_KEYS: Final[dict[str, Level | None]] = {"wa0": None, "wa1": "one", "wa2": "one"}
"""Watchers of each key, and the level at which they ask."""
OF_PREFIX: Final[dict[str, Level | None]] = {"wp0": None, "wp1": None}
"""Watchers of all keys at once."""
WATCHERS: Final = (*OF_KEYS, *OF_PREFIX)
_FOREVER_S: Final = 86400.0
_LEAVES_CHANCE: Final = 0.1


class WatchSession(PlannedClient):
    """One client that watches until it is cancelled.  `async with` owns its directory."""

    def __init__(self, name: str, *, shown: list[ShownChange], **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        self._keyspace = AsyncKeyspace(
            "default", self._router, OperationNames(self._entropy, self._router.directory)
        )
        self._shown = shown

    async def watch(self, keys: Iterable[bytes], leaves: Random) -> None:
        """Watch a prefix, if `OF_PREFIX` names this watcher, and else the keys."""
        if self.name in OF_PREFIX:
            await self._follow_all(OF_PREFIX[self.name], leaves)
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self._follow(key, OF_KEYS[self.name]))

    async def _follow_all(self, level: Level | None, leaves: Random) -> None:
        """The keys of a prefix; now and then another watch goes on with the cursor of the one before it."""
        cursor = None
        while True:
            changes = self._keyspace.watch_prefix(TAG, after=cursor, r=level, patience=_FOREVER_S)
            async for change in changes:
                self._note(change)
                cursor = change.cursor
                if leaves.random() < _LEAVES_CHANCE:
                    break

    async def _follow(self, key: bytes, level: Level | None) -> None:
        async for change in self._keyspace.watch(key, r=level, patience=_FOREVER_S):
            self._note(change)

    def _note(self, change: KeyChange) -> None:
        context = told_by(change.context.token, DEFAULT_KEYSPACE, change.key)
        seen = {str(actor): count for actor, count in context.vector.entries}
        item = change.item
        values = {} if item is None else dict(zip(item.dots, item.siblings, strict=True))
        self._shown.append(ShownChange(self.name, change.key, seen, values))
