"""Keys and values: put, get, delete, locate in one keyspace.

Each call is one request through the router.  A write gets its operation id before its first send and is never
sent again once its outcome is unknown; a read may be.  Promises: docs/guarantees.md.

The methods take options one by one.  `write_options` and `read_options` check them and make one value, which
`write` and `read` pass on whole; the command line calls these four directly.
"""

from __future__ import annotations

from typing import Final, TypeVar, overload

from ringmill.client.arguments import (
    ContextLike,
    Durability,
    Key,
    Level,
    Seconds,
    Value,
    checked_context,
    checked_durability,
    checked_key,
    checked_level,
    checked_timeout_s,
    checked_ttl_ms,
    checked_value,
)
from ringmill.client.operations import OperationNames
from ringmill.client.routing.links import DELETE, GET, LOCATE, PUT
from ringmill.client.routing.router import Router, Target
from ringmill.client.values import EMPTY, Item, Location, Receipt, item_of, location_of, receipt_from
from ringmill.cluster.errors import NotFound
from ringmill.cluster.wire.request_options import ReadOptions, WriteMessage, WriteOptions
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = ["MISSING", "AsyncKeyspace", "Missing", "read", "read_options", "write", "write_options"]

T = TypeVar("T")


class Missing:
    """The type of `MISSING`, which says that no default was given."""


MISSING: Final = Missing()


class AsyncKeyspace:
    """One keyspace of a cluster.

    Keys are str (encoded as UTF-8) or bytes-like, values are bytes-like, times are seconds or a timedelta.
    Arguments of another type or outside their limits raise InvalidArgument before anything is sent.
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
        """Write a value and wait until `w` owners have acked it (default: the keyspace's level).

        With the context of a read, the write replaces exactly what was read; with EMPTY it adds a sibling;
        without a context it overwrites what its coordinator knows.  `ttl` and `timeout` are seconds or a
        timedelta.  Raises QuorumNotReached and DeadlineExceeded (outcome unknown: the write may become
        visible), Unavailable, Overloaded, InvalidArgument.
        """
        options = write_options(context=context, w=w, durability=durability, ttl=ttl, timeout=timeout)
        return await write(self, key, checked_value(value), options)

    async def delete(
        self,
        key: Key,
        *,
        context: ContextLike | None = None,
        w: Level | None = None,
        durability: Durability | None = None,
        timeout: Seconds | None = None,
    ) -> Receipt:
        """Write a tombstone, under the rules of `put`.

        Deleting a key that does not exist is not an error.
        """
        options = write_options(context=context, w=w, durability=durability, timeout=timeout)
        return await write(self, key, None, options)

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
        """Read a key from `r` owners and return their merged object (default: the keyspace's level).

        Raises NotFound unless there is a `default`; QuorumNotReached, DeadlineExceeded, Unavailable,
        InvalidArgument, CorruptData.
        """
        return await read(self, key, read_options(r=r, timeout=timeout), default)

    async def locate(self, key: Key, *, timeout: Seconds | None = None) -> Location:
        """The partition and owners of a key, and what each owner holds now.

        Raises Unavailable, InvalidArgument.
        """
        data = checked_key(key)
        timeout_s = None if timeout is None else checked_timeout_s(timeout)
        request = kv_pb2.LocateRequest(keyspace=self.name, key=data)
        answer = await self._router.ask(
            LOCATE, lambda *_: request, target=Target(self.name, data), timeout_s=timeout_s
        )
        return location_of(answer)


def write_options(
    *,
    context: ContextLike | None = None,
    w: Level | None = None,
    durability: Durability | None = None,
    ttl: Seconds | None = None,
    timeout: Seconds | None = None,
) -> WriteOptions:
    """The options of a write as one value.  Raises InvalidArgument."""
    seen = checked_context(context)
    return WriteOptions(
        level=checked_level("w", w),
        durability=checked_durability(durability),
        context=seen.token if seen else b"",
        is_blind=seen == EMPTY,
        ttl_ms=checked_ttl_ms(ttl),
        timeout_s=0.0 if timeout is None else checked_timeout_s(timeout),
    )


def read_options(*, r: Level | None = None, timeout: Seconds | None = None) -> ReadOptions:
    """The options of a read as one value.  Raises InvalidArgument."""
    return ReadOptions(checked_level("r", r), 0.0 if timeout is None else checked_timeout_s(timeout))


async def write(space: AsyncKeyspace, key: Key, value: bytes | None, options: WriteOptions) -> Receipt:
    """Put a value, or with None delete.  Raises as `AsyncKeyspace.put`."""
    data, name = checked_key(key), space._operations.next()
    request: WriteMessage = kv_pb2.DeleteRequest() if value is None else kv_pb2.PutRequest(value=value)
    request.keyspace, request.key = space.name, data
    request.operation.session, request.operation.sequence = name.session, name.sequence
    request.operation.birth = name.birth
    options.fill(request)

    def prepare(epoch: int, timeout_ms: int) -> WriteMessage:
        request.epoch, request.timeout_ms = epoch, timeout_ms
        return request

    answer = await space._router.ask(
        DELETE if value is None else PUT,
        prepare,
        target=Target(space.name, data),
        timeout_s=options.timeout_s or None,
    )
    space._operations.observe(answer.hybrid_time)
    return receipt_from(answer)


async def read(space: AsyncKeyspace, key: Key, options: ReadOptions, default: T | Missing) -> Item | T:
    """Get a key.  Raises as `AsyncKeyspace.get`."""
    data = checked_key(key)
    request = kv_pb2.GetRequest(keyspace=space.name, key=data)
    options.fill(request)

    def prepare(epoch: int, timeout_ms: int) -> kv_pb2.GetRequest:
        request.epoch, request.timeout_ms = epoch, timeout_ms
        return request

    answer = await space._router.ask(
        GET, prepare, target=Target(space.name, data), timeout_s=options.timeout_s or None
    )
    space._operations.observe(answer.hybrid_time)
    item = item_of(answer)
    if item is not None:
        return item
    if isinstance(default, Missing):
        shown = data.decode("utf-8", "backslashreplace")
        raise NotFound(
            f"not found: {shown}",
            detail={"keyspace": space.name, "answered": list(answer.answered)},
            hint=f"`ringmill locate {shown}` shows what each owner holds of it",
        )
    return default
