"""Keys and values: put, get, delete, locate in one keyspace.

Each call is one request through the router.  A write gets its name before its first send and is never sent
again once its outcome is unknown; a read may be.  Promises: docs/guarantees.md.
"""

from __future__ import annotations

from typing import Final, TypeVar, overload

from client import messages
from client.links import DELETE, GET, LOCATE, PUT
from client.messages import Key, Level
from client.operations import OperationNames
from client.router import Router, Target
from client.values import CausalContext, Item, Location, Receipt
from cluster.errors import NotFound
from cluster.wire import kv_pb2

__all__ = ["MISSING", "AsyncKeyspace", "Missing"]

T = TypeVar("T")


class Missing:
    """The type of `MISSING`: no default was given."""


MISSING: Final = Missing()


class AsyncKeyspace:
    """One keyspace of a cluster.  Keys are str (UTF-8) or bytes, values bytes, times seconds."""

    def __init__(self, name: str, router: Router, operations: OperationNames) -> None:
        self.name = name
        self._router = router
        self._operations = operations

    def __repr__(self) -> str:
        return f"<keyspace {self.name}>"

    async def put(
        self,
        key: Key,
        value: bytes,
        *,
        context: CausalContext | None = None,
        w: Level | None = None,
        durability: str = "",
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Write a value and wait until `w` owners have it (default: the keyspace's).

        With the context of a read it replaces exactly what was read; with EMPTY it becomes a sibling; with
        none it overwrites what its coordinator knows.  Raises QuorumNotReached and DeadlineExceeded (outcome
        unknown: it may become visible), Unavailable, Overloaded, InvalidArgument.
        """
        data, operation = messages.key_bytes(key), self._operations.next()
        request = messages.put_request(
            self.name, data, value, operation, context=context, w=w, durability=durability, ttl=ttl
        )

        def prepare(epoch: int, timeout_ms: int) -> kv_pb2.PutRequest:
            request.epoch, request.timeout_ms = epoch, timeout_ms
            return request

        answer = await self._router.ask(PUT, prepare, target=Target(self.name, data), timeout_s=timeout)
        return self._receipt(answer)

    async def delete(
        self,
        key: Key,
        *,
        context: CausalContext | None = None,
        w: Level | None = None,
        durability: str = "",
        timeout: float | None = None,
    ) -> Receipt:
        """Write a tombstone, under the rules of `put`; deleting what is not there is no error."""
        data, operation = messages.key_bytes(key), self._operations.next()
        request = messages.delete_request(
            self.name, data, operation, context=context, w=w, durability=durability
        )

        def prepare(epoch: int, timeout_ms: int) -> kv_pb2.DeleteRequest:
            request.epoch, request.timeout_ms = epoch, timeout_ms
            return request

        answer = await self._router.ask(DELETE, prepare, target=Target(self.name, data), timeout_s=timeout)
        return self._receipt(answer)

    @overload
    async def get(self, key: Key, *, r: Level | None = None, timeout: float | None = None) -> Item: ...

    @overload
    async def get(
        self, key: Key, *, default: T, r: Level | None = None, timeout: float | None = None
    ) -> Item | T: ...

    async def get(
        self,
        key: Key,
        *,
        default: T | Missing = MISSING,
        r: Level | None = None,
        timeout: float | None = None,
    ) -> Item | T:
        """Read a key from `r` owners, merged.

        Raises NotFound unless there is a `default`; QuorumNotReached, DeadlineExceeded, Unavailable,
        InvalidArgument, CorruptData.
        """
        data = messages.key_bytes(key)
        request = messages.get_request(self.name, data, r)

        def prepare(epoch: int, timeout_ms: int) -> kv_pb2.GetRequest:
            request.epoch, request.timeout_ms = epoch, timeout_ms
            return request

        answer = await self._router.ask(GET, prepare, target=Target(self.name, data), timeout_s=timeout)
        self._operations.observe(answer.hybrid_time)
        item = messages.item(answer)
        if item is not None:
            return item
        if isinstance(default, Missing):
            shown = data.decode("utf-8", "backslashreplace")
            raise NotFound(
                f"not found: {shown}",
                detail={"keyspace": self.name, "answered": list(answer.answered)},
                hint=f"`ringmill locate {shown}` shows what each owner holds of it",
            )
        return default

    async def locate(self, key: Key, *, timeout: float | None = None) -> Location:
        """Where a key lives and what each owner holds of it now.  Raises Unavailable, InvalidArgument."""
        data = messages.key_bytes(key)
        request = messages.locate_request(self.name, data)
        answer = await self._router.ask(
            LOCATE, lambda *_: request, target=Target(self.name, data), timeout_s=timeout
        )
        return messages.location(answer)

    def _receipt(self, answer: kv_pb2.WriteReceipt) -> Receipt:
        self._operations.observe(answer.hybrid_time)
        return messages.receipt(answer)
