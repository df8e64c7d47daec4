"""A client's link to a real node that keeps the last answer of a request for the history."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from ringmill.client.connection import open_link
from ringmill.client.routing.links import Method
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = ["RecordedLink"]

Answer = TypeVar("Answer", bound=Message)


class RecordedLink:
    """As the client opens it, and `last` holds the last receipt or read; probes leave it alone."""

    def __init__(self, address: str, last: list[Message]) -> None:
        self._link = open_link(address, session=True)
        self._last = last

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        answer = await self._link.call(method, request, timeout_s)
        if isinstance(answer, kv_pb2.GetResponse | kv_pb2.WriteReceipt):
            self._last[:] = [answer]
        return answer

    async def close(self) -> None:
        await self._link.close()
