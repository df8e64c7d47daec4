"""A client that checks every answer while the nodes are upgraded: it runs with the code of either revision.

    python -P scripts/chaos/upgrading/upgrade_load.py PREFIX ENDPOINTS TOKEN_FILE

It uses the public API alone.  Each key has one writer, so that what it must hold is known: the last number
that was acknowledged, or a later one that was tried.  A counter holds as many as were acknowledged, or tried.
At the end of its stdin it reads everything back and prints what it has seen as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from ringmill import RingmillError, connect

__all__: list[str] = []

WORKERS: Final = 4
KEYS_OF_ONE: Final = 8
PAUSE_S: Final = 0.005


class Load:
    """What one client wrote, and what it was told."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.tried: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self.steps = 0
        self.errors: list[str] = []
        self.lost: list[str] = []
        self.is_over = False

    async def work(self, db: Any, worker: int) -> None:
        number = 0
        while not self.is_over:
            number += 1
            key = f"{self.prefix}-{worker}-{number % KEYS_OF_ONE}"
            await self.step(key, db.put(key, str(self.tried.get(key, 0) + 1).encode()))
            await self.check(db, key)
            counter = f"{self.prefix}-count-{worker}"
            await self.step(counter, db.registers.incr(counter))
            await asyncio.sleep(PAUSE_S)

    async def step(self, key: str, write: Any) -> None:
        """A write; its number counts as tried at once, and as acknowledged when it is."""
        self.tried[key] = self.tried.get(key, 0) + 1
        self.steps += 1
        try:
            await write
        except RingmillError as error:
            self.errors.append(f"write {key}: {error.code}: {error}")
        else:
            self.acknowledged[key] = self.acknowledged.get(key, 0) + 1 if "count" in key else self.tried[key]

    async def check(self, db: Any, key: str) -> None:
        try:
            item = await db.get(key)
        except RingmillError as error:
            self.errors.append(f"get {key}: {error.code}: {error}")
            return
        held = max((int(value) for value in item.siblings), default=0) if item is not None else 0
        self.judge(key, held)

    def judge(self, key: str, held: int) -> None:
        least, most = self.acknowledged.get(key, 0), self.tried.get(key, 0)
        if not least <= held <= most:
            self.lost.append(f"{key} holds {held}; acknowledged {least}, tried {most}")

    async def read_back(self, db: Any) -> None:
        for key in list(self.tried):
            if "count" not in key:
                await self.check(db, key)
                continue
            try:
                self.judge(key, int((await db.registers.get(key)).value or b"0"))
            except RingmillError as error:
                self.errors.append(f"get {key}: {error.code}: {error}")


async def _run(load: Load, endpoints: list[str], token: str) -> None:
    async with connect(endpoints, token=token) as db:
        workers = [asyncio.create_task(load.work(db, number)) for number in range(WORKERS)]
        await asyncio.to_thread(sys.stdin.read)
        load.is_over = True
        await asyncio.gather(*workers)
        await load.read_back(db)


def main() -> None:
    prefix, endpoints, token_file = sys.argv[1:]
    load = Load(prefix)
    asyncio.run(_run(load, endpoints.split(","), Path(token_file).read_text().strip()))
    result = {"writes": load.steps, "errors": load.errors, "lost": load.lost}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
