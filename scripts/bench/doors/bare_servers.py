"""Servers with the parsers and the event loop of the gateway's doors, and nothing else of them.

    python -P -m doors.bare_servers http 20000                       answers from memory
    python -P -m doors.bare_servers redis 20000 127.0.0.1:7101 grpc  asks the cluster by the client

What they cost a request is what nobody who answers by these means can do without: no checks, no limits, no
options, one keyspace.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

import uvloop
from aiohttp import web

import ringmill
from doors.asked import VALUE, Verb, verbs_of
from ringmill.client.gateway.redis.protocol.command_parser import CommandParser
from ringmill.client.gateway.redis.protocol.replies import OK, encode_reply
from ringmill.cluster.adapters.serving_process import spare_the_collector
from ringmill.cluster.wire.offers import CarrierName

Verbs = dict[str, Verb]


async def answer_http(verbs: Verbs, request: web.BaseRequest) -> web.Response:
    """The value, whatever was asked."""
    await request.read()
    if verbs:
        await verbs[f"http {request.method.lower()}"](request.path.rpartition("/")[2].encode())
    return web.Response(body=VALUE)


class BareRedis(asyncio.Protocol):
    """GET finds the one value, and any other command is well done.

    Commands that came together are asked together, and answered together.
    """

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._parser = CommandParser()
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        commands = []
        while (command := self._parser.next_command()) is not None:
            commands.append(command)
        if not self._verbs:
            self._answer(commands)
        else:
            task = asyncio.create_task(self._ask(commands))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, commands: list[list[bytes]]) -> None:
        asked = [self._verbs[f"redis {command[0].decode().lower()}"](command[1]) for command in commands]
        await (asked[0] if len(asked) == 1 else asyncio.gather(*asked))
        self._answer(commands)

    def _answer(self, commands: list[list[bytes]]) -> None:
        assert self._transport is not None
        answers = [encode_reply(VALUE if command[0] == b"GET" else OK, 2) for command in commands]
        self._transport.write(b"".join(answers))


async def serve(protocol: str, port: int, verbs: Verbs) -> None:
    loop = asyncio.get_running_loop()
    made: Callable[[], asyncio.BaseProtocol] = partial(BareRedis, verbs)
    if protocol == "http":
        made = web.Server(partial(answer_http, verbs), access_log=None)
    listening = await loop.create_server(made, "127.0.0.1", port)
    await listening.serve_forever()


async def main(protocol: str, port: str, endpoints: str = "", transport: str = "grpc") -> None:
    spare_the_collector()
    if not endpoints:
        await serve(protocol, int(port), {})
        return
    async with ringmill.connect(endpoints, transport=cast("CarrierName", transport)) as client:
        await serve(protocol, int(port), verbs_of(client))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
