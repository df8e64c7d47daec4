"""Attacks on a node from outside, each in a process of its own: what beside_attacks.py starts.

    python scripts/chaos/hostile/attacks.py NAME ADDRESS SECONDS TOKEN_FILE

It attacks for SECONDS and ends with all that it has opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import resource
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would tell of every reset connection

import grpc.aio  # noqa: E402

from ringmill.cluster.adapters.network.grpc_client import ClientLink  # noqa: E402
from ringmill.cluster.errors import RingmillError  # noqa: E402
from ringmill.cluster.ports import Priority  # noqa: E402
from ringmill.cluster.wire.frames import encode_operations  # noqa: E402
from ringmill.cluster.wire.stubs import jobs_pb2, kv_pb2  # noqa: E402

__all__ = ["ATTACKS", "LARGE_KEY"]

LARGE_KEY: Final = b"large"  # of 1 MiB; beside_attacks.py puts it
_SESSION: Final = "/ringmill.v1.Kv/Session"
_PUT_BUNDLE: Final = "/ringmill.v1.Jobs/PutBundle"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_CONNECTIONS: Final = 2000
_SESSIONS: Final = 10
_GETS: Final = 400  # in one frame of 11 kB


async def unread_answers(address: str, token: str) -> None:
    """Ask for 400 MiB in one frame on each of ten sessions, and take no answer."""
    get = kv_pb2.GetRequest(keyspace="default", key=LARGE_KEY).SerializeToString()
    frame = encode_operations(
        [(number, "kv.get", 60_000_000, int(Priority.READ), get) for number in range(1, _GETS + 1)]
    )
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(_SESSIONS):
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            call = channel.stream_stream(_SESSION, kv_pb2.Frame.SerializeToString, kv_pb2.Frame.FromString)()
            await call.write(kv_pb2.Frame(body=frame))
        await asyncio.sleep(3600)


async def silent_connections(address: str, token: str) -> None:
    """Keep 2,000 connections that say nothing; what the node closes is opened again."""
    await _keep_open(address, b"")


async def idle_grpc_connections(address: str, token: str) -> None:
    """Keep 2,000 connections that speak gRPC and ask nothing."""
    await _keep_open(address, _PREFACE)


async def _keep_open(address: str, greeting: bytes) -> None:
    host, _, port = address.rpartition(":")

    async def keep() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(greeting)
                while await reader.read(4096):
                    pass
                writer.close()
            await asyncio.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for number in range(_CONNECTIONS):
            group.create_task(keep())
            if number % 50 == 49:
                await asyncio.sleep(0.05)


async def rubbish(address: str, token: str) -> None:
    """Connections that send bytes of no protocol, 16 at a time."""
    host, _, port = address.rpartition(":")

    async def send() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(random.randbytes(4096))
                async with asyncio.timeout(0.2):
                    await reader.read()
                writer.close()
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(send())


async def bundle_bombs(address: str, token: str) -> None:
    """Send a bundle of 1 MB whose first entry unpacks to 1 GB, and one with 60,000 names, again and again."""
    bomb, names = io.BytesIO(), io.BytesIO()
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("RINGMILL-BUNDLE", "w", force_zip64=True) as marker,
    ):
        for _ in range(1000):
            marker.write(bytes(1 << 20))
    with zipfile.ZipFile(names, "w") as archive:
        for number in range(60_000):
            archive.writestr(str(number), b"")
    async with ClientLink(address, token=token) as link:
        while True:
            for data in (bomb.getvalue(), names.getvalue()):
                digest = sha256(data).hexdigest()
                pieces = [data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)]
                chunks = [jobs_pb2.BundleChunk(sha256=digest, data=piece) for piece in pieces]
                with contextlib.suppress(RingmillError):
                    await link.upload(_PUT_BUNDLE, _each(chunks), jobs_pb2.PutBundleResponse, 30.0)


async def _each(chunks: list[jobs_pb2.BundleChunk]) -> AsyncIterator[jobs_pb2.BundleChunk]:
    for chunk in chunks:
        yield chunk


ATTACKS: Final[dict[str, Callable[[str, str], Awaitable[None]]]] = {
    "unread_answers": unread_answers,
    "silent_connections": silent_connections,
    "idle_grpc_connections": idle_grpc_connections,
    "rubbish": rubbish,
    "bundle_bombs": bundle_bombs,
}


async def _attack(name: str, address: str, seconds: float, token: str) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ATTACKS[name](address, token)


def main() -> None:
    name, address, seconds, token_file = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_attack(name, address, float(seconds), Path(token_file).read_text().strip()))


if __name__ == "__main__":
    main()
