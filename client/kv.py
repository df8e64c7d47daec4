"""Keys and values: put, get, delete, locate in one keyspace.

Each call is one request through the router.  A write gets its name before its first send and is never sent
again once its outcome is unknown; a read may be.  Promises: docs/guarantees.md.
"""

from __future__ import annotations

from typing import Final, TypeVar, overload

from ringmill.client import messages
from ringmill.client.arguments import (
    ContextLike,
    Durability,
    Key,
    Level,
    Seconds,
    Value,
    checked_key,
    checked_timeout_s,
)
from ringmill.client.operations import OperationNames
from ringmill.client.routing.links import DELETE, GET, LOCATE, PUT
from ringmill.client.routing.router import Router, Target
from ringmill.client.values import Item, Location, Receipt
from ringmill.cluster.errors import NotFound
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = ["MISSING", "AsyncKeyspace", "Missing"]

T = TypeVar("T")


class Missing:
    """The type of `MISSING`: no default was given."""


MISSING: Final = Missing()


class AsyncKeyspace:
    """One keyspace of a cluster.

    Keys are str (UTF-8) or bytes-like, values bytes-like, times seconds or a timedelta.  Arguments of another
    type, or outside their limits, are InvalidArgument before anything is sent.
    """

    def __init__(self, name: str, router: Router, operations: OperationNames) -> None:
        self.name = name
        self._router = router
        self._operations = operations

    def __repr__(self) -> str:
        return f"<keyspace {self.name}>"

    async def put(
        self,
        key: Key,
        value: Value,
        *,
        context: ContextLike | None = None,
        w: Level | None = None,
        durability: Durability | None = None,
        ttl: Seconds | None = None,
        timeout: Seconds | None = None,
    ) -> Receipt:
        """Write a value and wait until `w` owners have it (default: the keyspace's).

        With the context of a read it replaces exactly what was read; with EMPTY it becomes a sibling; with
        none it overwrites what its coordinator knows.  Raises QuorumNotReached and DeadlineExceeded (outcome
        unknown: it may become visible), Unavailable, Overloaded, InvalidArgument.
        """
        data, timeout_s = checked_key(key), _timeout_s(timeout)
        request = messages.put_request(
            self.name,
            data,
            value,
            self._operations.next(),
            context=context,
            w=w,
            durability=durability,
            ttl=ttl,
        )

        def prepare(epoch: int, timeout_ms: int) -> kv_pb2.PutRequest:
            request.epoch, request.timeout_ms = epoch, timeout_ms
            return request

        answer = await self._router.ask(PUT, prepare, target=Target(self.name, data), timeout_s=timeout_s)
        return self._receipt(answer)

    async def delete(
        self,
        key: Key,
        *,
        context: ContextLike | None = None,
        w: Level | None = None,
        durability: Durability | None = None,
        timeout: Seconds | None = None,
    ) -> Receipt:
        """Write a tombstone, under the rules of `put`; deleting what is not there is no error."""
        data, timeout_s = checked_key(key), _timeout_s(timeout)
        request = messages.delete_request(
            self.name, data, self._operations.next(), context=context, w=w, durability=durability
        )

        def prepare(epoch: int, timeout_ms: int) -> kv_pb2.DeleteRequest:
            request.epoch, request.timeout_ms = epoch, timeout_ms
            return request

        answer = await self._router.ask(DELETE, prepare, target=Target(self.name, data), timeout_s=timeout_s)
        return self._receipt(answer)

    @overload
    async def get(self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None) -> Item: ...

    @overload
    async def get(
        self, key: Key, default: T, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> Item | T: ...

    async def get(
        self,
        key: Key,
        default: T | Missing = MISSING,
        *,
        r: Level | None = None,
        timeout: Seconds | None = None,
    ) -> Item | T:
        """Read a key from `r` owners, merged.

        Raises NotFound unless there is a `default`; QuorumNotReached, DeadlineExceeded, Unavailable,
        InvalidArgument, CorruptData.
        """
        data, timeout_s = checked_key(key), _timeout_s(timeout)
        request = messages.get_request(self.name, data, r)

        def prepare(epoch: int, timeout_ms: int) -> kv_pb2.GetRequest:
            request.epoch, request.timeout_ms = epoch, timeout_ms
            return request

        answer = await self._router.ask(GET, prepare, target=Target(self.name, data), timeout_s=timeout_s)
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

    async def locate(self, key: Key, *, timeout: Seconds | None = None) -> Location:
        """Where a key lives and what each owner holds of it now.  Raises Unavailable, InvalidArgument."""
        data, timeout_s = checked_key(key), _timeout_s(timeout)
        request = messages.locate_request(self.name, data)
        answer = await self._router.ask(
            LOCATE, lambda *_: request, target=Target(self.name, data), timeout_s=timeout_s
        )
        return messages.location(answer)

    def _receipt(self, answer: kv_pb2.WriteReceipt) -> Receipt:
        self._operations.observe(answer.hybrid_time)
        return messages.receipt(answer)


def _timeout_s(timeout: Seconds | None) -> float | None:
    return None if timeout is None else checked_timeout_s(timeout)
