"""The door to one node's Jobs service."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message

__all__ = ["SERVICE", "Dial", "JobLink"]

Answer = TypeVar("Answer", bound=Message)
SERVICE: Final = "/ringmill.v1.Jobs/"


class JobLink(Protocol):
    """One node's Jobs service; every call carries the cluster's token."""

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer: ...

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer: ...

    def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]: ...


Dial = Callable[[str], AbstractAsyncContextManager[JobLink]]
