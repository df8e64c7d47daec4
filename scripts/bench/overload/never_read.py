"""A client that asks one node for large values on one stream, and never reads an answer.

    python scripts/bench/overload/never_read.py ENDPOINT GETS

It says one line when all has been sent, and goes when its stdin ends.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from ringmill.cluster.adapters.network.grpc_streams import SESSION_PATH
from ringmill.cluster.adapters.network.handshake import SESSION, Introduction
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.wire.frames import Operation, encode_operations
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest

KEYS = 20
TIMEOUT_US = 60_000_000


def get(number: int) -> Operation:
    request = GetRequest(key=b"large:%d" % (number % KEYS))
    return number, "kv.get", TIMEOUT_US, 2, request.SerializeToString()


async def main(endpoint: str, gets: int) -> None:
    carrier = carrier_named("grpc", SESSION_PATH, clock=SystemClock())
    ours = Introduction(traffic_class=SESSION)
    stream = await carrier.dial(endpoint, ours, lambda told: None, timeout_s=5.0)
    await stream.write(encode_operations([get(number) for number in range(gets)]))
    print("sent", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await stream.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
