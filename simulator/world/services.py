"""The services of a node over simulated frames: the tables that its gRPC server would serve.

Frames carry one body and no metadata.  So the chunks of an upload cross as one msgpack array, and every call
comes with the cluster's token; a method that gives many answers is not served.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgpack

from ringmill.cluster.access.raw_tokens import TOKEN_KEY
from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ports import Clock, Handler, Incoming
from ringmill.node.service_tables import ProcessFacts
from ringmill.node.services.table import Call, Service, Unary, Upload, frame_handler

__all__ = ["PROCESS", "TOKEN", "frame_name", "over_frames"]

TOKEN: Final = "simulated"  # noqa: S105 - it guards nothing
PROCESS: Final = ProcessFacts(pid=1, version="simulated", complaint=lambda: "")
_METADATA: Final = {TOKEN_KEY: TOKEN}


def frame_name(service: str, method: str) -> str:
    """The method's name in frames, "topology.Get"."""
    return f"{service.rpartition('.')[2].lower()}.{method}"


def over_frames(tables: Iterable[Service], clock: Clock) -> dict[str, Handler]:
    handlers: dict[str, Handler] = {}
    for service in tables:
        for name, method in service.methods.items():
            if isinstance(method, Unary):
                handlers[frame_name(service.name, name)] = frame_handler(method, clock, _METADATA)
            elif isinstance(method, Upload):
                handlers[frame_name(service.name, name)] = _upload_handler(method, clock)
    return handlers


def _upload_handler(method: Upload, clock: Clock) -> Handler:
    async def answer(incoming: Incoming) -> bytes:
        chunks = _chunks(incoming.body)
        return await method.run(_one_by_one(chunks), Call(incoming.deadline - clock.boottime(), _METADATA))

    return answer


def _chunks(body: bytes) -> list[bytes]:
    try:
        chunks = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch("an upload does not decode") from error
    if not isinstance(chunks, list) or not all(isinstance(chunk, bytes) for chunk in chunks):
        raise ProtocolMismatch("an upload is no array of chunks")
    return chunks


async def _one_by_one(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
