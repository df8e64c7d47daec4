"""One key of a small world, written and read as a node does it for a client."""

from __future__ import annotations

from ringmill.cluster.quorum.receipt import Receipt
from ringmill.node.requests.values import ReadRequest, ReadResult, WriteRequest
from tests.node.small_world import World

__all__ = ["get", "put", "values"]


async def put(world: World, at: str, value: bytes | None, **options: object) -> Receipt:
    request = WriteRequest("", b"key", value, **options)  # type: ignore[arg-type]
    return await world.on(at, world.nodes[at].writer.write(request))


async def get(world: World, at: str, level: str = "", timeout_s: float = 0.0) -> ReadResult:
    request = ReadRequest("", b"key", level, timeout_s=timeout_s)
    return await world.on(at, world.nodes[at].reader.read(request))


def values(result: ReadResult) -> list[bytes | None]:
    return [sibling.value for sibling in result.siblings]
