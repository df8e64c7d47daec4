"""Changes of the keys of one database: each key is a register, and waits in a queue of its own.

What is asked of one key while a change of it is under way is done by the next one, together: in the order in
which it came, by one compare-and-set.  So commands on a key are linearizable, those of a caller take effect
in the order in which it sent them, and many commands on one key cost few rounds.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, TypeAlias

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures, remove_expired
from ringmill.client.gateway.redis.store.key_index import KeyIndex
from ringmill.client.gateway.redis.store.key_names import kept_name
from ringmill.client.gateway.redis.store.redis_errors import GATEWAY_FAILED, redis_error_from
from ringmill.client.gateway.redis.store.turns import Place, Turns
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.errors import Conflict, DeadlineExceeded, RingmillError
from ringmill.cluster.limits import MAX_VALUE_BYTES
from ringmill.cluster.ports import Clock

__all__ = ["Change", "Done", "Droppable", "KeyQueues", "SteppedChange", "reply_of"]

MOST_AT_ONCE: Final = 1000
ENOUGH_BYTES: Final = 1 << 20
"""Bytes of replies that are made at once; the changes behind them are made when these have been taken."""
ENOUGH_S: Final = 0.01
"""For changes that are made at once; other callers get their turn before those behind them are made."""
MOST_ASKED: Final = 200
"""Keys of one caller's commands on several keys that are under way at a time: each has its time from when it
begins, a thousand together might take longer, and others have to be served beside."""
_LONGEST_PAUSE_S: Final = 0.1
_log = logging.getLogger(__name__)

Change: TypeAlias = Callable[[Entry, int], Reply]
"""What a command does with a key at a moment, in milliseconds since 1970.  It may be done over, from what the
key holds then, and raises RedisError before it has changed anything."""

Done: TypeAlias = Callable[[Reply], None]


class SteppedChange(ABC):
    """A Change that may take long: others get their turn between its steps.  It takes effect as one."""

    @abstractmethod
    def steps(self, entry: Entry, now_ms: int) -> Generator[None, None, Reply]:
        """Make it step by step, and return the reply."""

    def __call__(self, entry: Entry, now_ms: int) -> Reply:
        steps = self.steps(entry, now_ms)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                reply: Reply = end.value
                return reply


class Droppable:
    """A Change that waits in the queue of its key, and may be dropped there with all that it holds."""

    __slots__ = ("_change",)

    def __init__(self, change: Change) -> None:
        self._change: Change | None = change

    def __call__(self, entry: Entry, now_ms: int) -> Reply:
        if self._change is None:
            raise RedisError("ERR the connection has gone, and what it had under way was too much")
        return self._change(entry, now_ms)

    @property
    def is_dropped(self) -> bool:
        return self._change is None

    def drop(self) -> None:
        self._change = None


class KeyQueues:
    """The keys of one database, for the callers with one token."""

    def __init__(
        self,
        borrow_client: Callable[[], AbstractAsyncContextManager[AsyncClient]],
        name: str,
        *,
        has_token: bool,
        timeout_s: float,
        clock: Clock,
        figures: ExpiryFigures | None = None,
    ) -> None:
        """`name` is that of the keyspace of registers; what takes longer than `timeout_s` ends with an
        error."""
        self._borrow_client = borrow_client
        self._name = name
        self._has_token = has_token
        self._timeout_s = timeout_s
        self._clock = clock
        self._figures = figures or ExpiryFigures()
        self._queues: dict[bytes, _Queue] = {}
        self._client: AsyncClient | None = None
        self._registers: AsyncRegisters | None = None  # of that client

    def submit(self, key: bytes, change: Change, done: Done, turns: Turns | None = None) -> None:
        """Have a change made; `done` gets the reply, an error too.

        It has its place in the queue of the key at once.  The first there waits for one of the turns, its own
        or one of those behind it, so no connection waits for the turns of another.  It has its time from then
        on.
        """
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
            queue.worker = asyncio.get_running_loop().create_task(self._work(key, queue))
        queue.add(_Submitted(change, done, turns))

    def ask(self, key: bytes, change: Change, turns: Turns | None = None) -> asyncio.Future[Reply]:
        """Queue a change like `submit`, and have its reply in the future that is returned.

        Once the future is cancelled, a change that has not begun is not done.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if not isinstance(change, SteppedChange):
            change = droppable = Droppable(change)
            future.add_done_callback(lambda ended: droppable.drop() if ended.cancelled() else None)

        def done(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)

        self.submit(key, change, done, turns)
        return future

    async def ask_each(self, keys: Sequence[bytes], change: Change) -> list[Reply]:
        """The replies about each key, errors too."""
        replies: list[Reply] = []
        for start in range(0, len(keys), MOST_ASKED):
            replies += await asyncio.gather(
                *(self.ask(key, change) for key in keys[start : start + MOST_ASKED])
            )
        return replies

    def redis_error_of(self, error: RingmillError) -> RedisError:
        """An error of the cluster as these callers see it."""
        return redis_error_from(error, self._has_token, self._name)

    async def _work(self, key: bytes, queue: _Queue) -> None:
        try:
            while not queue.is_empty:
                turns = await queue.turn()
                try:
                    batch = queue.take_batch()
                    while batch:
                        replies = await self._replies(key, batch)
                        for one, reply in zip(batch, replies, strict=False):
                            one.done(reply)
                        del batch[: len(replies)]
                finally:
                    if turns is not None:
                        turns.give_back()
        finally:
            del self._queues[key]

    async def _replies(self, key: bytes, batch: list[_Submitted]) -> list[Reply]:
        """The replies of the first changes, of at least one."""
        changes = [one.change for one in batch]
        try:
            return await self._make_changes(key, changes)
        except _TooLarge as error:
            if len(changes) > 1:  # the one that is too large fails, and not those beside it
                return await self._replies(key, batch[:1])
            return [RedisError(str(error))]
        except RingmillError as error:
            return [self.redis_error_of(error)] * len(changes)
        except Exception:  # noqa: BLE001 - a bug in one command must not leave its caller waiting
            _log.exception("a change of a key failed")
            return [GATEWAY_FAILED] * len(changes)

    async def _make_changes(self, key: bytes, changes: list[Change]) -> list[Reply]:
        """Make the first changes as one, as many as take 10 ms and have replies of about 1 MiB, and return
        their replies.

        When the first one takes longer, those behind it are removed: it is done, or fails, alone.
        """
        async with self._borrow_client() as client:
            return await self._make_changes_by(client, key, changes)

    async def _make_changes_by(self, client: AsyncClient, key: bytes, changes: list[Change]) -> list[Reply]:
        registers = self._registers_of(client)
        until = self._clock.monotonic() + self._timeout_s
        pause_s = 0.0
        name = kept_name(key)
        while True:
            found = await registers.get(name, timeout=self._left_s(until))
            now_ms = int(self._clock.wall() * 1000)
            found_entry = Entry.decode(found.value, now_ms)
            replies, entry = await self._first_replies(changes, found_entry, now_ms, until)
            if not entry.is_changed:
                left_s = self._left_s(until)
                if entry.has_expired and not await self._forget(registers, name, found.version, left_s):
                    continue  # somebody else has changed it meanwhile, and it may have a value
                return replies
            new = entry.encode()
            if new is None and found.value is None:
                return replies  # came and went
            if new is not None and len(new) > MAX_VALUE_BYTES:
                raise _TooLarge(
                    f"ERR the value of the key would have {len(new)} bytes, above {MAX_VALUE_BYTES}"
                )
            if found.value is None or entry.has_expired:  # its name may be old, and be removed now
                await KeyIndex(client, self._name, self._clock.wall).note(key, self._left_s(until))
            try:
                await self._set(registers, name, new, found.value is None, found.version, until)
            except Conflict:
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2 or 0.001)
                continue
            self._figures.expired_keys += entry.has_expired
            return replies

    async def _forget(self, registers: AsyncRegisters, name: bytes, version: int, timeout_s: float) -> bool:
        """Remove what has expired; whoever may not leaves it to others.

        Returns whether the key holds what was found: False when somebody else has changed it.
        """
        try:
            return await remove_expired(registers, name, version, self._figures, timeout_s)
        except RingmillError as error:
            _log.debug("an expired key stays: %s", error)
            return True

    def _registers_of(self, client: AsyncClient) -> AsyncRegisters:
        if self._registers is None or client is not self._client:
            self._client, self._registers = client, client.registers.keyspace(self._name)
        return self._registers

    async def _set(
        self,
        registers: AsyncRegisters,
        name: bytes,
        new: bytes | None,
        was_absent: bool,
        version: int,
        until: float,
    ) -> None:
        """The version of a register without a value may grow by itself, so its absence is expected."""
        timeout_s = self._left_s(until)
        if was_absent:
            await registers.cas(name, new, expect=None, timeout=timeout_s)
        else:
            await registers.cas(name, new, expect_version=version, timeout=timeout_s)

    async def _first_replies(
        self, changes: list[Change], entry: Entry, now_ms: int, until: float
    ) -> tuple[list[Reply], Entry]:
        """The replies of the first changes, and the entry that these changes leave.

        A change in steps that takes long is left to the next time when others are before it, and those behind
        it are removed when it is the first.
        """
        replies: list[Reply] = []
        size = 0
        enough = self._clock.monotonic() + ENOUGH_S
        for change in changes:
            if isinstance(change, SteppedChange):
                before = entry.kept() if replies else None
                steps = change.steps(entry, now_ms)
                while not (made := self._reply_of_steps(steps, enough)):
                    if before is not None:
                        del changes[len(replies) :]  # they are not part of this change
                        return replies, before
                    del changes[1:]
                    self._check_time(until)
                    await asyncio.sleep(0)  # others have their turn
                    enough = self._clock.monotonic() + ENOUGH_S
                if len(changes) == 1:
                    self._check_time(until)
                reply = made[0]
            else:
                reply = reply_of(change, entry, now_ms)
            replies.append(reply)
            if len(changes) == 1:
                break
            size += reply_size(reply)
            if size >= ENOUGH_BYTES or self._clock.monotonic() >= enough:
                break
        return replies, entry

    def _reply_of_steps(self, steps: Generator[None, None, Reply], enough: float) -> list[Reply]:
        """Make steps until then: the reply, or nothing when there are more of them."""
        try:
            next(steps)
            while self._clock.monotonic() < enough:
                next(steps)
        except StopIteration as end:
            return [end.value]
        except RedisError as error:
            return [error]
        return []

    def _check_time(self, until: float) -> None:
        if self._clock.monotonic() >= until:
            raise DeadlineExceeded(
                f"what was to be done in one step takes more than {self._timeout_s:g} s, and nothing was done"
            )

    def _left_s(self, until: float) -> float:
        left_s = until - self._clock.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(f"others changed the key for {self._timeout_s:g} s, and nothing was done")
        return left_s


class _Submitted(NamedTuple):
    change: Change
    done: Done
    turns: Turns | None

    @property
    def is_dropped(self) -> bool:
        return isinstance(self.change, Droppable) and self.change.is_dropped


class _Queue:
    """What waits for a key, and the task that does it."""

    worker: asyncio.Task[None]

    def __init__(self) -> None:
        self._waiting: deque[_Submitted] = deque()
        self._number_by_turns: dict[Turns | None, int] = {}  # of those that wait
        self._place: Place | None = None  # while all wait for a turn
        self._look_at = MOST_AT_ONCE

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def add(self, one: _Submitted) -> None:
        """What was dropped is answered, and held no longer, when it is most of what waits."""
        self._waiting.append(one)
        self._number_by_turns[one.turns] = self._number_by_turns.get(one.turns, 0) + 1
        if self._place is not None:
            _ask(one.turns, self._place)
        if len(self._waiting) >= self._look_at:
            for _ in range(len(self._waiting)):
                if not self._leaves_dropped(first := self._waiting.popleft()):
                    self._waiting.append(first)
            self._look_at = max(MOST_AT_ONCE, 2 * len(self._waiting))

    async def turn(self) -> Turns | None:
        """Wait for the first turn that one of those that wait here has; None when one of them needs none."""
        if None in self._number_by_turns:
            return None
        place: Place = asyncio.get_running_loop().create_future()
        self._place = place
        for turns in self._number_by_turns:
            _ask(turns, place)
        try:
            return await place
        finally:
            self._place = None
            for turns in self._number_by_turns:
                if turns is not None:
                    turns.forget(place)

    def take_batch(self) -> list[_Submitted]:
        """Take the next ones to be made together; what was dropped before them is answered, and costs nothing
        more."""
        batch: list[_Submitted] = []
        while self._waiting and len(batch) < MOST_AT_ONCE:
            one = self._waiting.popleft()
            if not self._leaves_dropped(one):
                self._leaves(one)
                batch.append(one)
        return batch

    def _leaves_dropped(self, one: _Submitted) -> bool:
        """Whether it was dropped; then it is answered."""
        if one.is_dropped:
            self._leaves(one)
            one.done(reply_of(one.change, Entry(), 0))
        return one.is_dropped

    def _leaves(self, one: _Submitted) -> None:
        self._number_by_turns[one.turns] -= 1
        if not self._number_by_turns[one.turns]:
            del self._number_by_turns[one.turns]


def _ask(turns: Turns | None, place: Place) -> None:
    if turns is not None:
        turns.ask(place)
    elif not place.done():  # it needs none
        place.set_result(None)


class _TooLarge(Exception):
    """What a key would hold has no room in a register."""


def reply_of(change: Change, entry: Entry, now_ms: int) -> Reply:
    """What a change answers, an error too."""
    try:
        return change(entry, now_ms)
    except RedisError as error:
        return error
