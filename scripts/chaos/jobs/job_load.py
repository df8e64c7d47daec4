"""The requests beside the jobs: objects, registers and counters, judged as `ringmill cluster chaos` does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from ringmill.client.administration.second_looks import IN_SERVICE
from ringmill.client.chaos.chaos_load import ChaosLoad, Judged, judged_answers, made_spaces
from ringmill.client.chaos.load_tally import LoadTally
from ringmill.client.connection import AsyncClient
from ringmill.cluster.errors import RingmillError

__all__ = ["JobLoad"]

REST_S: Final = 60.0
POLL_S: Final = 0.2


class JobLoad:
    """`begin` it, `end` it when all nodes are back; `judged` tells what it has found."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._is_over = asyncio.Event()
        self._load: ChaosLoad | None = None
        self._work: asyncio.Task[None] | None = None
        self.tally = LoadTally()
        self.unread: list[str] = []

    async def begin(self, db: AsyncClient) -> None:
        """Make its keyspaces, and work from now on."""
        spaces = await made_spaces(db, "load-{}".format)
        self._load = ChaosLoad(spaces, self._seed, self.tally)
        self.tally.begin(asyncio.get_running_loop().time())
        self._work = asyncio.create_task(self._load.work(self._is_over.is_set))

    async def end(self, db: AsyncClient, *, is_sound: bool) -> None:
        """Stop asking, then, on a cluster that is sound, read everything once more when it is at rest."""
        self._is_over.set()
        if self._work is None or self._load is None:
            return
        await self._work
        self.tally.end()
        if is_sound:
            with suppress(TimeoutError):  # what cannot be read then is told
                async with asyncio.timeout(REST_S):
                    while not await _is_at_rest(db):  # noqa: ASYNC110 - no event tells
                        await asyncio.sleep(POLL_S)
            self.unread = await self._load.look()

    def judged(self) -> list[Judged]:
        return [*([] if self._load is None else self._load.judged()), judged_answers(self.tally)]


async def _is_at_rest(db: AsyncClient) -> bool:
    """Whether all nodes are seen up, and no hint waits."""
    try:
        status = await db.status()
    except RingmillError:
        return False
    return not status.hints and all(node.state in IN_SERVICE for node in status.nodes)
