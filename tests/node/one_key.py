"""One key of a small world, written and read as a node does it for a client."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import QuorumNotReached
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WriteRequest
from tests.node.small_world import World

__all__ = ["get", "lone_write", "put", "read_request", "values", "write_request"]

OPTIONS = {*WriteOptions._fields}


def write_request(keyspace: str, key: bytes, value: bytes | None, **given: Any) -> WriteRequest:
    """`given` are options of the write, and what else a request brings."""
    options = WriteOptions(**{name: each for name, each in given.items() if name in OPTIONS})
    return WriteRequest(
        keyspace, key, value, options, **{name: each for name, each in given.items() if name not in OPTIONS}
    )


def read_request(key: bytes, level: str = "", timeout_s: float = 0.0) -> ReadRequest:
    return ReadRequest("", key, ReadOptions(level, timeout_s))


async def put(
    world: World, at: str, value: bytes | None, *, keyspace: str = "", **given: Any
) -> QuorumReceipt:
    request = write_request(keyspace, b"key", value, **given)
    requests = world.nodes[at].requests
    return await world.on(at, requests.write(request))


async def get(world: World, at: str, level: str = "", timeout_s: float = 0.0) -> ReadResult:
    return await world.on(at, world.nodes[at].requests.get(read_request(b"key", level, timeout_s)))


def values(result: ReadResult) -> list[bytes | None]:
    return [sibling.value for sibling in result.siblings]


async def lone_write(world: World, at: str, value: bytes | None) -> None:
    """A write that reached its coordinator only: nobody knows how it ended."""
    others = [name for name in world.names if name != at]
    for other in others:
        world.cut(at, other)
    with pytest.raises(QuorumNotReached):
        await put(world, at, value, timeout_s=0.05)
    for other in others:
        world.cut(at, other, is_cut=False)
