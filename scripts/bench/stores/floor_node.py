"""A node of the floor: the same frames between the same processes, over gRPC, and a dict behind them.

    python -P -m stores.floor_node '{"address": "127.0.0.1:1", "peers": ["127.0.0.1:2"], "log": "/path",
    "w": 2}'

It does what nobody can leave out (frames, an echo to peers, one log, synced before the answer) and nothing
that makes a store of it: no versions, no timeouts, no hints, no refusals.  A frame of puts goes on as one
frame to each peer, and its answers come back as one when the own log and w - 1 peers have it; a frame of
gets waits for r - 1 peers.  The distance to it is what the product costs by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import grpc
import uvloop

from ringmill.cluster.wire.frames import (
    Answer,
    Operation,
    decode_answers,
    decode_operations,
    encode_answers,
    encode_operations,
)
from stores.gathered import Gathered

SERVICE, METHOD = "floor", "/floor/Frames"
KEY_BYTES = 16


class FloorNode:
    """A dict, a log, and streams to the peers."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._values: dict[bytes, bytes] = {}
        self._others = about["w"] - 1  # peers that must have answered
        self._log = _Log(about["log"])
        self._peers = [_Peer(address) for address in about["peers"]]

    async def frames(self, _: Any, context: Any) -> None:
        """One stream: frames are worked on as they come, and answered when they are done."""
        outbox: Gathered[Answer] = Gathered()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(outbox.run(encode_answers, context.write))
            while (message := await context.read()) is not grpc.aio.EOF:
                operations, _ = decode_operations(message)
                group.create_task(self._answer(operations, outbox))
            writing.cancel()

    async def _answer(self, operations: list[Operation], outbox: Gathered[Answer]) -> None:
        values, answers = self._values, list[Answer]()
        written: list[bytes] = []
        asked: list[Operation] = []
        for operation in operations:
            identity, method, _, _, body = operation
            if method in ("put", "apply"):
                values[body[:KEY_BYTES]] = body[KEY_BYTES:]
                written.append(body)
                answers.append((identity, b""))
            else:
                answers.append((identity, values.get(body, b"")))
            if method in ("put", "get"):
                asked.append((identity, "apply" if method == "put" else "read", 0, 1, body))
        waits = [peer.ask(asked) for peer in self._peers] if asked else []
        if written:
            await self._log.append(b"".join(written))
        if waits:
            await _first(waits, self._others)
        outbox.add(answers)


async def _first(waits: list[asyncio.Future[None]], count: int) -> None:
    """Return when `count` of them are done."""
    while sum(one.done() for one in waits) < count:
        await asyncio.wait([one for one in waits if not one.done()], return_when=asyncio.FIRST_COMPLETED)


class _Peer:
    """A stream of frames to a peer, dialled when first used.  Of what was asked together the last answer
    counts: a peer answers in order."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._outbox: Gathered[Operation] = Gathered()
        self._running: asyncio.Task[None] | None = None
        self._last = 0

    def ask(self, operations: list[Operation]) -> asyncio.Future[None]:
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        first, self._last = self._last + 1, self._last + len(operations)
        self._outbox.add([(first + number, *one[1:]) for number, one in enumerate(operations)])
        self._waiting[self._last] = future = asyncio.get_running_loop().create_future()
        return future

    async def _run(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel, asyncio.TaskGroup() as group:
            rpc = channel.stream_stream(METHOD)()
            group.create_task(self._outbox.run(encode_operations, rpc.write))
            while (message := await rpc.read()) is not grpc.aio.EOF:
                for answer in decode_answers(message)[0]:
                    if (future := self._waiting.pop(answer[0], None)) is not None:
                        future.set_result(None)


class _Log:
    """Bytes appended and synced by a thread, all that has come meanwhile together."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._pending: list[bytes] = []
        self._next: asyncio.Future[None] | None = None
        self._is_syncing = False

    async def append(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._pending.append(data)
        self._next = waited = self._next or loop.create_future()
        if not self._is_syncing:
            self._is_syncing = True
            while self._pending:
                batch, self._pending = b"".join(self._pending), []
                future, self._next = self._next, None
                await loop.run_in_executor(None, self._write, batch)
                assert future is not None
                future.set_result(None)
            self._is_syncing = False
        await waited

    def _write(self, batch: bytes) -> None:
        os.write(self._file, batch)
        os.fdatasync(self._file)


async def serve(about: dict[str, Any]) -> None:
    """Answer until the process is terminated."""
    node = FloorNode(about)
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(node.frames)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Frames": handler}),))
    server.add_insecure_port(about["address"])
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
