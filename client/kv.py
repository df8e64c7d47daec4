"""Keys and values: put, get, delete, touch, locate in one keyspace, one key at a time or many.

Each call is one request through the router.  A write gets its operation id before its first send, so that a
node that gets it again can tell whether it was done.  Promises: docs/guarantees.md.

The methods take settings by name (client/kv_requests.py).  `put_options`, `delete_options` and `read_options`
check them and make one value, which `write` and `read` pass on whole; the command line calls these directly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar, Unpack, overload

from google.protobuf.message import Message

from ringmill.client.arguments import (
    ContextLike,
    Key,
    Level,
    Seconds,
    Value,
    checked_key,
    checked_timeout_s,
    checked_value,
)
from ringmill.client.explanations import Explanation, explanation_by
from ringmill.client.kv_requests import (
    MISSING,
    DeleteSettings,
    ManyPutsSettings,
    Missing,
    PutSettings,
    TouchSettings,
    delete_options,
    found_item,
    many_puts_options,
    put_options,
    read_message,
    read_options,
    touch_message,
    touch_options,
    write_message,
)
from ringmill.client.many_keys import (
    KeyspaceRequests,
    Pairs,
    checked_keys,
    checked_pairs,
    in_steps,
    read_many,
    write_many,
)
from ringmill.client.operations import OperationName, OperationNames
from ringmill.client.pipeline import AsyncPipeline
from ringmill.client.routing.attempts import attempt_message
from ringmill.client.routing.links import DELETE, GET, LIST_KEYSPACES, LOCATE, PUT, TOUCH, Method
from ringmill.client.routing.router import Router, Target
from ringmill.client.scans.async_scan import AsyncScan, ScanSettings, scan_of
from ringmill.client.session_memory import SessionMemory
from ringmill.client.values import Item, KeyChange, Location, PrefixChange, Receipt, location_of, receipt_from
from ringmill.client.watches.polling import PATIENCE_S
from ringmill.client.watches.prefix_watching import prefix_changes_of
from ringmill.client.watches.watching import changes_of
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.wire.request_options import ReadOptions, WriteMessage, WriteOptions
from ringmill.cluster.wire.stubs import keyspaces_pb2, kv_pb2

__all__ = ["AsyncKeyspace", "name_of_write", "read", "time_of_read", "touch", "under_name", "write"]

T = TypeVar("T")
Options = TypeVar("Options", ReadOptions, WriteOptions)
Answer = TypeVar("Answer", kv_pb2.GetResponse, kv_pb2.WriteReceipt)


class AsyncKeyspace:
    """One keyspace of a cluster.

    Keys are str (encoded as UTF-8) or bytes-like, values are bytes-like, times are seconds or a timedelta.
    Arguments of another type or outside their limits raise InvalidArgument before anything is sent.
    """

    def __init__(self, name: str, router: Router, operations: OperationNames) -> None:
        self.name = name
        self._router = router
        self._operations = operations
        self._requests = KeyspaceRequests(name, router, operations)

    def __repr__(self) -> str:
        return f"<keyspace {self.name}>"

    async def put(
        self,
        key: Key,
        value: Value,
        **settings: Unpack[PutSettings],
    ) -> Receipt:
        """Write a value and wait until `w` owners have acked it (default: the keyspace's level).

        With the context of a read, the write replaces exactly what was read; with EMPTY it adds a sibling;
        without a context it overwrites what its coordinator knows.  `ttl` and `timeout` are seconds or a
        timedelta.  Raises QuorumNotReached, DeadlineExceeded (their `outcome` is "unknown" when the write may
        become visible), Unavailable, Overloaded, DiskFull, CorruptData, PermissionDenied, InvalidArgument.
        """
        options = put_options(**settings)
        return await write(self, key, checked_value(value), options)

    async def touch(self, key: Key, *, ttl: Seconds | None, **settings: Unpack[TouchSettings]) -> Receipt:
        """Let the present value expire `ttl` from now (None: never), without sending the value again.

        A write: its coordinator reads the key from the keyspace's R owners and writes what it has found
        again.  A put at the same time may stay beside it as a sibling.  Raises NotFound when the key has no
        value, UnresolvedSiblings when it has several, and what `put` raises.
        """
        return await touch(self, key, touch_options(ttl, **settings))

    async def delete(
        self,
        key: Key,
        **settings: Unpack[DeleteSettings],
    ) -> Receipt:
        """Write a tombstone, under the rules of `put`.

        Deleting a key that does not exist is not an error.
        """
        options = delete_options(**settings)
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

    async def mget(
        self, keys: Iterable[Key], *, r: Level | None = None, timeout: Seconds | None = None
    ) -> list[Item | RingmillError | None]:
        """Read many keys: for each, in their order, its Item, None when it has no value, or the error.

        Not atomic: each key is a read of its own, with a `timeout` of its own from its sending on, and what
        a single `get` would raise is its outcome; `ringmill.raise_first` raises the first one.  At most 512
        reads are under way.  Raises InvalidArgument, with the index, before anything is sent; ClientClosed.
        """
        options = read_options(r=r, timeout=timeout)
        return await read_many(self._requests, await in_steps(checked_keys(keys)), options)

    async def mput(
        self,
        pairs: Pairs,
        **settings: Unpack[ManyPutsSettings],
    ) -> list[Receipt | RingmillError]:
        """Write many keys, a mapping or pairs (key, value): for each, in order, its Receipt or the error.

        Not atomic: each pair is a write of its own, with a `timeout` of its own from its sending on, and
        what a single `put` would raise is its outcome; `ringmill.raise_first` raises the first one.  Values
        of one key are written in their order.  At most 512 writes and about 4 MiB are under way.  Raises
        InvalidArgument, with the index, before anything is sent; ClientClosed.
        """
        options = many_puts_options(**settings)
        return await write_many(self._requests, await in_steps(checked_pairs(pairs)), options)

    def scan(self, **settings: Unpack[ScanSettings]) -> AsyncScan:
        """All keys with a value, and what they hold: `async for key, item in db.scan(prefix="user:")`.

        Only keys that begin with `prefix`, from `start` on and before `end`, and at most `limit` of them; the
        values are empty with `keys_only`.  The order is that of the partitions, and within each that of the
        keys.  Each page of up to 1,000 keys or 1 MiB is read from `r` owners, with a `timeout` of its own.
        `cursor` goes on where another scan was.  Raises InvalidArgument; while iterating QuorumNotReached,
        DeadlineExceeded, Unavailable, CorruptData.
        """
        return scan_of(self.name, self._router, self._operations, **settings)

    def pipeline(self) -> AsyncPipeline:
        """A queue of puts, gets and deletes that answer through futures and are sent together.

        Use it in the client's event loop, best with `async with`.
        """
        return AsyncPipeline(self._requests)

    def watch(
        self,
        key: Key,
        *,
        after: ContextLike | None = None,
        r: Level | None = None,
        patience: Seconds = PATIENCE_S,
    ) -> AsyncIterator[KeyChange]:
        """The changes of a key, beginning with what it holds now unless `after` covers that.

        `after` is the context of a read, a receipt or a KeyChange.  Each change is told at least once, in
        causal order; several that come close together may be told as one, the newest.  It goes on until it
        is left, whatever node holds it.  Raises InvalidArgument at once, and when the keyspace is dropped;
        PermissionDenied when a node refuses the token; ClientClosed; what the last node raised when none
        could serve a poll for as long as `patience`.
        """
        return changes_of(self._router, self.name, key, after, r, patience)

    def watch_prefix(
        self,
        prefix: Key,
        *,
        after: str | None = None,
        from_now: bool = False,
        r: Level | None = None,
        patience: Seconds = PATIENCE_S,
    ) -> AsyncIterator[PrefixChange]:
        """The changes of all keys that begin with `prefix`, beginning with what each of them holds now.

        With `from_now` only what changes from now on; `after` is the `cursor` of an earlier change.  Each
        change is told at least once, those of a key in causal order; several that come close together may be
        told as one, the newest.  After the start of a node all keys are read again, as changes may have been
        missed: a watch `from_now` then tells those that it has not told before, changed or not.  Raises as
        `watch`.
        """
        return prefix_changes_of(
            self._router,
            self._operations,
            self.name,
            prefix,
            after=after,
            from_now=from_now,
            r=r,
            patience=patience,
        )

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

    async def explain(
        self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> Explanation:
        """Read a key, and tell how that went: who was asked, what each owner held, what was repaired.

        In a keyspace of registers it is a read of a register, which takes no `r` (`db.registers.explain`).

        A read that fails is told in `error`.  Raises Unavailable, DeadlineExceeded, InvalidArgument.
        """
        data, options = checked_key(key), read_options(r=r, timeout=timeout)
        request = read_message(self.name, data, options)
        return await explanation_by(self._router, request, options.timeout_s or None)


def name_of_write(space: AsyncKeyspace) -> OperationName:
    """A name for a write that may be sent by several calls (`under_name`)."""
    return space._operations.next()


def time_heard(space: AsyncKeyspace) -> int:
    """The newest hybrid time that the client has heard from the cluster; 0 before any."""
    return space._operations.newest


def time_of_read(space: AsyncKeyspace, timeout: Seconds | None) -> float:
    """The seconds that a read with this timeout may take.  Raises InvalidArgument."""
    return space._router.timeout_s if timeout is None else checked_timeout_s(timeout)


def watch_of_prefix(
    space: AsyncKeyspace,
    prefix: Key,
    opened: Callable[[str], None],
    *,
    after: str | None,
    from_now: bool = False,
    r: Level | None = None,
) -> AsyncIterator[PrefixChange]:
    """Watch a prefix as `AsyncKeyspace.watch_prefix` does, and tell `opened` the cursor of a watch from now.

    Another watch can go on from that cursor.
    """
    return prefix_changes_of(
        space._router,
        space._operations,
        space.name,
        prefix,
        after=after,
        from_now=from_now,
        r=r,
        patience=PATIENCE_S,
        opened=opened,
    )


def under_name(space: AsyncKeyspace, name: OperationName) -> AsyncKeyspace:
    """The keyspace as it is, but its next write has this name: sent again it is the same write (rule V4)."""
    return AsyncKeyspace(space.name, space._router, space._operations.named(name))


async def write(
    space: AsyncKeyspace,
    key: Key,
    value: bytes | None,
    options: WriteOptions,
    memory: SessionMemory | None = None,
    *,
    entry: bytes = b"",
    amount: int = 0,
) -> Receipt:
    """Put a value, or delete the key when it is None.

    `entry` names a part of a set or map, `amount` is what a counter adds.  With the `memory` of a session the
    write is one of that session.  Raises as `AsyncKeyspace.put`.
    """
    data = checked_key(key)

    def message_with(options: WriteOptions) -> WriteMessage:
        newest = memory.newest if memory is not None else 0
        return write_message(
            space.name, data, value, options, space._operations, entry=entry, amount=amount, newest=newest
        )

    return await _send_write(space, data, DELETE if value is None else PUT, message_with, options, memory)


async def touch(
    space: AsyncKeyspace, key: Key, options: WriteOptions, memory: SessionMemory | None = None
) -> Receipt:
    """Give a value another expiry, in the session that `memory` belongs to, if any.

    Raises as `AsyncKeyspace.touch`.
    """
    data = checked_key(key)

    def message_with(options: WriteOptions) -> WriteMessage:
        newest = memory.newest if memory is not None else 0
        return touch_message(space.name, data, options, space._operations, newest)

    return await _send_write(space, data, TOUCH, message_with, options, memory)


async def _send_write(
    space: AsyncKeyspace,
    data: bytes,
    method: Method[kv_pb2.WriteReceipt],
    message_with: Callable[[WriteOptions], WriteMessage],
    options: WriteOptions,
    memory: SessionMemory | None,
) -> Receipt:
    """Send one write, and note in the session's memory what came of it."""

    async def send(options: WriteOptions) -> kv_pb2.WriteReceipt:
        try:
            return await send_once(options)
        except InvalidArgument as error:
            if not space._operations.retreat(error):
                raise
        return await send_once(options)

    def send_once(options: WriteOptions) -> Awaitable[kv_pb2.WriteReceipt]:
        return space._router.ask(
            method,
            partial(attempt_message, message_with(options)),
            target=Target(space.name, data),
            timeout_s=options.timeout_s or None,
        )

    if memory is not None and not options.context and not options.is_blind:
        options, answer = await _under_session(space, data, options, memory, send)
    else:
        answer = await send(options)
    space._operations.observe(answer.hybrid_time)
    if memory is not None:
        id = None if answer.context else await _id_since(space, answer.epoch)
        memory.note_write(space.name, data, answer, options.seen, id)
    return receipt_from(answer)


async def read(
    space: AsyncKeyspace,
    key: Key,
    options: ReadOptions,
    default: T | Missing,
    memory: SessionMemory | None = None,
) -> Item | T:
    """Get a key, in the session that `memory` belongs to, if any.  Raises as `AsyncKeyspace.get`."""
    data = checked_key(key)

    def send(options: ReadOptions) -> Awaitable[kv_pb2.GetResponse]:
        return space._router.ask(
            GET,
            partial(attempt_message, read_message(space.name, data, options)),
            target=Target(space.name, data),
            timeout_s=options.timeout_s or None,
        )

    if memory is not None:
        options, answer = await _under_session(space, data, options, memory, send)
    else:
        answer = await send(options)
    space._operations.observe(answer.hybrid_time)
    if memory is not None:
        memory.note_read(space.name, data, answer, options.seen)
    return found_item(answer, space.name, data, default)


async def _under_session(
    space: AsyncKeyspace,
    key: bytes,
    options: Options,
    memory: SessionMemory,
    send: Callable[[Options], Awaitable[Answer]],
) -> tuple[Options, Answer]:
    """Send it with what the session has seen of its key.

    When that was seen in a keyspace that has been dropped since, and another one has its name, the request is
    sent once more without it.  Returns the options that were answered, and the answer.
    """
    options = options._replace(seen=memory.seen(space.name, key))
    try:
        return options, await send(options)
    except InvalidArgument as error:
        if not (options.seen and options.seen.context and error.outcome == "failed"):
            raise
        id = await _newest_id(space, options.timeout_s)
        if id is None or not memory.forget_others(space.name, key, id):
            raise
    options = options._replace(seen=memory.seen(space.name, key))
    return options, await send(options)


async def _newest_id(space: AsyncKeyspace, timeout_s: float) -> KeyspaceId | None:
    """The id of the keyspace that has the name now, as a majority of the voters knows it.

    A single node may not have heard of it.  None when there is no such keyspace, or no answer.
    """

    def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
        return keyspaces_pb2.ListKeyspacesRequest(timeout_ms=timeout_ms)

    try:
        listed = await space._router.ask(LIST_KEYSPACES, prepare, timeout_s=timeout_s or None)
    except RingmillError:
        return None
    await space._router.directory.catch_up(listed.epoch, timeout_s or space._router.timeout_s)
    found = {each.name: KeyspaceId(each.made_in, each.ordinal) for each in listed.keyspaces}
    return found.get(space.name)


async def _id_since(space: AsyncKeyspace, epoch: int) -> KeyspaceId | None:
    """The id of the keyspace by a topology of this epoch or a later one; None when it has no such one."""
    directory = space._router.directory
    if directory.epoch < epoch:
        await directory.catch_up(epoch, space._router.timeout_s)
    topology = directory.topology
    if topology is None or topology.epoch < epoch or not topology.has_keyspace(space.name):
        return None
    return topology.keyspace_named(space.name).id
