"""Clients beside a job that loads a keyspace: one fills what it reads, and what it will replace, one
overwrites what it has put, one changes what it reads while it reads a snapshot, one reads what is there in
the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Unpack

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.cluster.errors import NotFound, RingmillError
from ringmill.simulator.subjects.loads.workload import FORMER, INDEX, SOURCE
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing

__all__ = ["MINE", "LoadHistory", "LoadSession"]

MINE: Final = b"mine"
_AGAIN_S: Final = 0.2
_SOON_S: Final = 0.005


@dataclass(slots=True)
class LoadHistory:
    """What the clients of a run saw.  `overwritten`: of each key "ok", or "unknown"."""

    is_filled: bool = False
    overwritten: dict[bytes, str] = field(default_factory=dict)
    held: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # in the end
    unread: list[str] = field(default_factory=list)
    generations: list[tuple[bytes, bool]] = field(default_factory=list)
    """What the client that overwrites has read, one after the other: a key, and whether it was the job's."""


class LoadSession(PlannedClient):
    """One client.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        names = OperationNames(self._entropy, self._router.directory)
        self._source = AsyncKeyspace(SOURCE, self._router, names)
        self._index = AsyncKeyspace(INDEX, self._router, names)

    async def fill(
        self,
        source: Mapping[bytes, bytes],
        former: Mapping[bytes, bytes],
        history: LoadHistory,
        within_s: float,
    ) -> None:
        """Put every key, again and again until it is acknowledged."""
        ends_at = asyncio.get_running_loop().time() + within_s
        left = {(self._source, key): value for key, value in source.items()}
        left |= {(self._index, key): value for key, value in former.items()}
        while left and asyncio.get_running_loop().time() < ends_at:
            (keyspace, key), value = next(iter(left.items()))
            try:
                await keyspace.put(key, value)
            except RingmillError:
                await asyncio.sleep(_AGAIN_S)
            else:
                del left[keyspace, key]
        history.is_filled = not left

    async def meddle(self, late: Mapping[bytes, bytes], is_accepted: Callable[[], bool]) -> None:
        """Put these into what the job reads, each of them once, as soon as it is accepted."""
        while not is_accepted():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_SOON_S)
        for key, value in late.items():
            with suppress(RingmillError):
                await self._source.put(key, value)

    async def overwrite(
        self, keys: Collection[bytes], former: Mapping[bytes, bytes], history: LoadHistory, pause_s: float
    ) -> None:
        """Until cancelled: replace the value of each key once it has one that was not there before."""
        while True:
            for key in sorted({*keys, *former}):
                if key in history.overwritten:
                    continue
                try:
                    found = await self._index.get(key)
                except RingmillError:
                    continue
                if former:
                    is_former = found is not None and set(found.siblings) == {FORMER}
                    history.generations.append((key, not is_former))
                if found is None or set(found.siblings) == {FORMER} or key not in keys:
                    continue
                history.overwritten[key] = "unknown"  # also if it is cancelled now
                try:
                    await self._index.put(key, MINE, context=found.context)
                except RingmillError as error:
                    if error.outcome == "failed":
                        del history.overwritten[key]
                else:
                    history.overwritten[key] = "ok"
            await asyncio.sleep(pause_s)

    async def read(self, keys: Collection[bytes], history: LoadHistory, within_s: float) -> None:
        """What each key holds, asked until it is told."""
        ends_at = asyncio.get_running_loop().time() + within_s
        for key in sorted(keys):
            while True:
                try:
                    found = await self._index.get(key)
                except NotFound:
                    history.held[key] = ()
                except RingmillError as error:
                    if asyncio.get_running_loop().time() > ends_at:
                        history.unread.append(f"{key!r}: {error}")
                        return
                    await asyncio.sleep(_AGAIN_S)
                    continue
                else:
                    history.held[key] = () if found is None else found.siblings
                break
