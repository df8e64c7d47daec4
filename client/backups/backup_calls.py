"""Asks one node about backups.  Every call shows a token with the role admin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ring.topology import Member
from ringmill.cluster.wire.stubs.backup_pb2 import (
    BringObjectsRequest,
    BringObjectsResponse,
    BringRegistersRequest,
    BringRegistersResponse,
    HashTableRequest,
    HashTableResponse,
    LookRequest,
    LookResponse,
    PinnedTable,
    PinRequest,
    PinResponse,
    ReadTableRequest,
    ReadTableResponse,
    UnpinRequest,
    UnpinResponse,
)

__all__ = ["BackupCalls", "BackupLink", "DialBackup", "ask_again"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Message)
_SERVICE: Final = "/ringmill.v1.Backup/"
LOOK_S: Final = 10.0
PIN_S: Final = 120.0  # a full memtable is flushed, and waits for those before it
READ_S: Final = 30.0
HASH_S: Final = 120.0
BRING_S: Final = 30.0
KEEP_S: Final = 30.0
_TRIES: Final = 3
_PAUSE_S: Final = 0.5


async def ask_again(
    ask: Callable[[], Awaitable[T]], tries: int, passing: tuple[type[RingmillError], ...]
) -> T:
    """Ask up to `tries` times, as long as errors may pass.  Raises what the last call raises."""
    for _ in range(tries - 1):
        with suppress(*passing):
            return await ask()
        await asyncio.sleep(_PAUSE_S)
    return await ask()


class BackupLink(Protocol):
    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer: ...


DialBackup: TypeAlias = Callable[[str], AbstractAsyncContextManager[BackupLink]]
"""Opens a link to the node at an address."""


class BackupCalls:
    """The methods of proto/backup.proto at one member.  They raise what the node raises, which then names
    it."""

    def __init__(self, member: Member, link: BackupLink) -> None:
        self.member = member
        self._link = link

    async def look(self, keyspaces: list[str]) -> LookResponse:
        return await self._ask("Look", LookRequest(keyspaces=keyspaces), LookResponse, LOOK_S)

    async def pin(self) -> PinResponse:
        return await self._ask("Pin", PinRequest(), PinResponse, PIN_S)

    async def unpin(self, pin: str) -> None:
        """Raises nothing: a pin ends by itself, too."""
        try:
            await self._ask("Unpin", UnpinRequest(pin=pin), UnpinResponse, LOOK_S)
        except RingmillError:
            return

    async def keep(self, pin: str, table: PinnedTable) -> None:
        """Ask for what is behind the end of a table from time to time, until cancelled: a pin that nobody
        asks about ends."""
        request = ReadTableRequest(pin=pin, file=table.file, offset=table.bytes)
        while True:
            await asyncio.sleep(KEEP_S)
            with suppress(RingmillError):
                await self._ask("ReadTable", request, ReadTableResponse, READ_S)

    async def sha256(self, pin: str, file: int) -> str:
        request = HashTableRequest(pin=pin, file=file)
        answer = await self._again("HashTable", request, HashTableResponse, HASH_S)
        return answer.sha256

    async def table(self, pin: str, file: int) -> AsyncIterator[bytes]:
        """The pieces of a table."""
        offset = 0
        while True:
            request = ReadTableRequest(pin=pin, file=file, offset=offset)
            piece = (await self._again("ReadTable", request, ReadTableResponse, READ_S)).data
            if not piece:
                return
            yield piece
            offset += len(piece)

    async def bring_objects(self, request: BringObjectsRequest) -> None:
        await self._ask("BringObjects", request, BringObjectsResponse, BRING_S)

    async def bring_registers(self, request: BringRegistersRequest) -> None:
        await self._ask("BringRegisters", request, BringRegistersResponse, BRING_S)

    async def _again(self, method: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        """A read, which may be asked once more when the connection was lost."""
        ask = partial(self._ask, method, request, answer, timeout_s)
        return await ask_again(ask, _TRIES, (Unavailable,))

    async def _ask(self, method: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        try:
            return await self._link.unary(_SERVICE + method, request, answer, timeout_s)
        except RingmillError as error:
            error.detail.setdefault("node", self.member.id)
            raise
