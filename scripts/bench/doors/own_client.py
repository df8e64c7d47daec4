"""What a door asks of the cluster, asked by the client in a process of its own that does nothing else.

    python -P -m doors.own_client 127.0.0.1:7101,127.0.0.1:7102 grpc

Each line of stdin names a verb, how many requests are in flight and for how many seconds.  The answer is a
line with the requests and the processor seconds of this process.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import uvloop

import ringmill
from doors.asked import KEYS, Verb, key_of, verbs_of
from ringmill.cluster.adapters.serving_process import spare_the_collector
from ringmill.cluster.wire.offers import CarrierName

LONGEST_S = 60.0


async def run(do: Verb, keys: Iterator[bytes], in_flight: int, seconds: float) -> dict[str, Any]:
    """Workers that ask one after the other until the time is over."""
    until, done = time.perf_counter() + seconds, 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await do(next(keys))
            done += 1

    begun_s = time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return {"requests": done, "used_s": time.process_time() - begun_s}


async def serve(endpoints: str, transport: str) -> None:
    """Answer lines until stdin ends."""
    loop = asyncio.get_running_loop()
    keys = itertools.cycle([key_of(number) for number in range(KEYS)])
    spare_the_collector()
    async with ringmill.connect(endpoints, transport=cast("CarrierName", transport)) as client:
        verbs = verbs_of(client)
        print(json.dumps({"ready": True}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(line)
            async with asyncio.timeout(asked["seconds"] + LONGEST_S):
                answer = await run(verbs[asked["verb"]], keys, asked["in_flight"], asked["seconds"])
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
