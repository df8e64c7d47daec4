"""One connection of a caller that speaks Redis's protocol.

Commands are begun in the order in which they come, and those on different keys are under way together; the
answers go out in that order.  Those on one key wait in its queue (store/key_queues.py), so each sees the
effects of the former ones.  A command that is not about single keys begins when all former ones have ended,
and those behind it wait.  What has begun is done though its connection has gone, and is counted until then;
what only reads about all keys ends with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from ringmill.client.gateway.meters.door_meter import DoorMeter
from ringmill.client.gateway.protection.vanished_callers import end_if_vanished
from ringmill.client.gateway.redis.commands.command_spec import CommandSpec, KeyCall
from ringmill.client.gateway.redis.commands.connections.queued_commands import (
    ABORTED,
    NOT_QUEUED,
    QueuedCommands,
    WatchedKey,
)
from ringmill.client.gateway.redis.protocol.command_parser import (
    CommandParser,
    ForeignProtocol,
    ProtocolFault,
    command_size,
)
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply, encode_reply
from ringmill.client.gateway.redis.serving.answer_room import AnswerRoom
from ringmill.client.gateway.redis.serving.begun_commands import BegunCommand, combined_reply
from ringmill.client.gateway.redis.serving.command_meter import QUEUED, CommandMeter
from ringmill.client.gateway.redis.serving.found_commands import asks_cluster, found_command, place_of_key
from ringmill.client.gateway.redis.serving.lateness import Lateness, untaken_bytes
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.serving.reply_mode import ReplyMode
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.key_queues import MOST_ASKED, Change
from ringmill.client.gateway.redis.store.redis_errors import GATEWAY_FAILED
from ringmill.client.gateway.redis.store.turns import Turns
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Entropy

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.served_databases import ServedDatabases

__all__ = ["DoorOfConnection", "RedisConnection"]

_LONG: Final = 1 << 16
_LINGERS_S: Final = 1.0
_KEYLESS: Final = frozenset({"PING", "ECHO", "TIME", "UNWATCH"})  # MULTI may have them, too
_log = logging.getLogger(__name__)


class DoorOfConnection(Protocol):
    """What a connection asks of its door."""

    limits: RedisLimits
    entropy: Entropy
    databases: ServedDatabases
    began_s: float
    meter: DoorMeter
    connections_made: int
    commands_done: int
    expiry: ExpiryFigures

    def opened(self, connection: RedisConnection) -> str:
        """Note a new connection; why it is refused, "" when it is not."""
        ...

    def closed(self, connection: RedisConnection) -> None:
        """Note that it has ended.  What it has begun may go on, until `note_ended`."""
        ...

    def note_ended(self, connection: RedisConnection) -> None:
        """Note that nothing that a closed connection has begun goes on."""
        ...

    def connections(self) -> Sequence[RedisConnection]:
        """All that are open."""
        ...

    def note_growth(self, by: int) -> None:
        """Note that one holds this number of bytes more: all of them must stay within their limit."""
        ...

    def check_rate(self, connection: RedisConnection) -> None:
        """Count one request of its caller.  Raises RedisError when it asks too often."""
        ...

    def monotonic(self) -> float:
        """Seconds; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since 1970."""
        ...


class RedisConnection(asyncio.Protocol):
    """A Session of commands.  `version` 2 or 3, `token` and `database` are what the caller has chosen."""

    def __init__(self, door: DoorOfConnection) -> None:
        self.door = door
        self.id = 0
        self.version = 2
        self.token = ""
        self.number = 0
        self.name = b""
        self.library: dict[bytes, bytes] = {}
        self.address = self.local_address = ""
        self.flags: set[str] = set()
        self.reply_mode = ReplyMode()
        self.queued: QueuedCommands | None = None
        self.executed: QueuedCommands | None = None  # by an EXEC that is under way
        self.watched: WatchedKey | None = None
        self.began_s = door.monotonic()
        self.lateness = Lateness(door.limits, self.began_s)
        self.last_command = b""
        self.metered = CommandMeter(door.meter)
        self._database: Database | None = None
        self._parser = CommandParser()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[BegunCommand] = deque()
        self._unanswered = 0
        self._begun_bytes = 0
        self._size = 0  # of the command that is being begun
        self.told_bytes = 0  # of `held_bytes`, to the door
        self.room = AnswerRoom(door.limits, self._unsent)
        self.turns = Turns(MOST_ASKED)  # of keys of commands on several of them
        self._backlog: deque[list[bytes]] = deque()
        self._is_held = False  # by a command that others wait for
        self._awaits_all = False  # that command has not begun: it waits for the former ones
        self._is_paused = False  # it is read no further, and more may have come
        self._ends_after = False  # no command is read any more; it closes when all are answered
        self._is_refused = False  # what it has sent cannot be read on
        self._lingers = False  # what still comes is dropped
        self.is_gone = False
        self._tasks: dict[asyncio.Task[None], bool] = {}  # with whether it only reads
        self._pump_is_due = False

    @property
    def database(self) -> Database:
        """The one that the caller has selected."""
        if self._database is None:
            self._database = self.door.databases.database(self.token, self.number)
        return self._database

    def choose(self, *, token: str | None = None, number: int | None = None) -> None:
        """Go on with another token, or in another database.  Raises RedisError when there is none."""
        chosen = self.door.databases.database(
            self.token if token is None else token, self.number if number is None else number
        )
        self.token = self.token if token is None else token
        self.number = self.number if number is None else number
        self._database = chosen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        end_if_vanished(transport, self.door.limits.unread_s)
        self.address = _shown(transport.get_extra_info("peername"))
        self.local_address = _shown(transport.get_extra_info("sockname"))
        if refusal := self.door.opened(self):
            self._transport.write(encode_reply(RedisError(refusal), 2))
            self._transport.close()
            self._transport = None

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._backlog.clear()
        self._parser, self.queued = CommandParser(), None
        for one in self._waiting:
            one.forget_answer()
        self.room.ready = 0
        self._ends_after = self.is_gone = True
        for task, only_reads in self._tasks.items():
            if only_reads:
                task.cancel()
        self.door.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._ends_after:
            return
        self.lateness.active_s = self.door.monotonic()
        self._parser.feed(data)
        self._pump()
        self.tell_growth()

    def eof_received(self) -> bool:
        """What the caller has sent is answered before its connection is closed."""
        self.end_soon()
        return True

    def pause_writing(self) -> None:
        if self._transport is not None:
            self.lateness.fills(self.door.monotonic(), untaken_bytes(self._transport))

    def resume_writing(self) -> None:
        self.lateness.is_full = False
        self._pump()

    def quit(self) -> None:
        """What the caller has sent behind this command is not done."""
        self._parser = CommandParser()
        self.end_soon()

    def end_soon(self) -> None:
        """Take no further command; close once those that are there are answered."""
        self._ends_after = True
        self._close_if_answered()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def held_bytes(self) -> int:
        """What it has sent that is not answered, and answers that it has not taken."""
        held = self._parser.held_bytes + self._begun_bytes + self.room.used
        if self._backlog:  # it has the command that was to begin last, and no other
            held += self._size
        for one in (self.queued, self.executed):
            if one is not None:
                held += one.held_bytes
        return held

    def give_up(self, why: str) -> None:
        """End it, after an error when the caller has sent part of a command and takes its answers."""
        _log.warning("the connection of %s is closed: %s", self.address, why)
        is_waiting = self._parser.is_amid_command and not self._unanswered
        if self._transport is None or self._unsent() or not is_waiting:
            self.abort()
            return
        self._transport.write(encode_reply(RedisError(f"ERR {why}"), self.version))
        self._ends_after = self._is_refused = True
        self._parser = CommandParser()
        self._close_if_answered()

    def drop(self) -> None:
        """Do nothing more of what has begun, now that the caller has gone, and hold nothing of it."""
        for one in self._waiting:
            self._begun_bytes -= one.drop()
        for task in self._tasks:
            task.cancel()
        if self.executed is not None:
            self.executed.drop()

    def why_late(self, now_s: float) -> str:
        """Why the connection is to be closed now: the caller is silent, or takes no answers; "" when not."""
        is_busy = bool(self._unanswered or self._backlog)
        is_amid = self._parser.is_amid_command  # all of it: what has come whole was begun when there was room
        untaken = untaken_bytes(self._transport) if self.lateness.is_full and self._transport else 0
        return self.lateness.why(now_s, untaken=untaken, is_busy=is_busy, is_amid=is_amid)

    def note_answered(self, one: BegunCommand) -> None:
        """Note that the answer of a command is there; send all that are, in order."""
        self._unanswered -= 1
        self._begun_bytes -= one.size
        one.size = 0
        assert one.reply is not None
        size = len(one.reply)
        self.room.ready += size
        waiting = self._waiting
        if waiting and waiting[0].reply is not None:
            ready: list[bytes] = []
            while waiting and (reply := waiting[0].reply) is not None:
                ready.append(reply)
                self.room.ready -= len(reply)
                waiting.popleft().reply = None  # the queue of its key may hold it until others are answered
            self._send(ready)
        if self._awaits_all and not self._unanswered:
            self._is_held = self._awaits_all = False
        if size > _LONG:
            self.tell_growth()
        if self.is_gone:
            if not self._unanswered:
                self.door.note_ended(self)
            return
        if not self._pump_is_due and (self._backlog or self._may_go_on or self._ends_after):
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump_now)

    @property
    def _may_go_on(self) -> bool:
        return self._is_paused and self._unanswered * 2 <= self.door.limits.most_under_way

    @property
    def _is_within_bounds(self) -> bool:
        """Whether one more command may begin."""
        limits = self.door.limits
        is_within = self._unanswered < limits.most_under_way and self._begun_bytes < limits.most_begun_bytes
        return is_within and self.room.may_begin(self._unanswered)

    def _pump_now(self) -> None:
        self._pump_is_due = False
        self._pump()
        self._close_if_answered()

    def _pump(self) -> None:
        """Begin what may begin, and read on while there is room for more."""
        if self._transport is None:
            return
        try:
            while not self._is_held and not self.lateness.is_full and self._is_within_bounds:
                command = self._backlog.popleft() if self._backlog else self._next_command()
                if command is None:
                    self._read_on()
                    return
                self._begin(command)
        except ForeignProtocol as foreign:
            _log.warning("the connection of %s is closed: %s", self.address, foreign)
            self._parser, self._ends_after = CommandParser(), True
            self.abort()
            return
        except ProtocolFault as fault:
            self.metered.begin_unknown()
            self._answered(RedisError(f"ERR {fault}"))
            self._parser, self._ends_after, self._is_refused = CommandParser(), True, True
            self._close_if_answered()
            return
        if not self._is_paused and not self._transport.is_closing():
            self._transport.pause_reading()
        self._is_paused = True

    def _read_on(self) -> None:
        if self._is_paused and not self._ends_after and self._transport is not None:
            self._is_paused = False
            self.lateness.reads_on(self.door.monotonic())
            self._transport.resume_reading()

    def _next_command(self) -> list[bytes] | None:
        return None if self._ends_after and not self._parser.is_amid_command else self._parser.next_command()

    def _begin(self, command: list[bytes]) -> None:
        self.door.commands_done += 1
        self._size = command_size(command)
        self.reply_mode.begin()
        queued = self.queued
        try:
            self.metered.begin_unknown()
            spec, args = found_command(command)
            self.last_command = spec.name.encode()
            if spec.waiting is not None and self._unanswered:
                self._backlog.appendleft(command)
                self.door.commands_done -= 1
                self.reply_mode.put_back()
                self._is_held = self._awaits_all = True
                return
            self.metered.begin(spec)
            if asks_cluster(spec):
                self.door.check_rate(self)
            if queued is None or spec.name in NOT_QUEUED:
                queued = None  # what fails now fails by itself
                self._run(spec, args)
            else:
                queued.grow(command)
                self._queue(queued, spec, args)
                self._answered(QUEUED)
        except RedisError as error:
            if queued is not None:
                queued.refused = queued.refused or ABORTED
            self._answered(error)

    def _queue(self, queued: QueuedCommands, spec: CommandSpec, args: list[bytes]) -> None:
        """Raises RedisError for a command that is not on the one key, or when there are too many."""
        only_reads = "readonly" in spec.flags
        if spec.one_key is not None:
            queued.add(args.pop(place_of_key(spec)), self._change(spec, args), only_reads=only_reads)
        elif spec.each_key is not None:
            queued.add_parts(spec.each_key(args, self.version), only_reads=only_reads)
        elif spec.for_connection is not None and ("refused" in spec.flags or spec.name in _KEYLESS):
            queued.add_reply(spec.for_connection(self, args))
        else:
            raise RedisError(f"ERR {spec.name.replace('|', ' ')} within MULTI is not offered")

    def _run(self, spec: CommandSpec, args: list[bytes]) -> None:
        if spec.one_key is not None:
            key = args.pop(place_of_key(spec))
            done = self._waits()
            self.database.keys.submit(key, done.droppable(self._change(spec, args)), done)
        elif spec.each_key is not None:
            self._run_parts(spec, args)
        elif spec.waiting is not None:
            self._is_held = True
            self._keep(spec.waiting(self, args), self._waits(), only_reads="readonly" in spec.flags)
        elif spec.for_connection is not None:
            self._answered(spec.for_connection(self, args))

    def _change(self, spec: CommandSpec, args: Sequence[bytes]) -> Change:
        run, version, entropy = spec.one_key, self.version, self.door.entropy
        assert run is not None

        def change(entry: Entry, now_ms: int) -> Reply:
            return run(KeyCall(args, entry, now_ms, version, entropy))

        return change

    def _run_parts(self, spec: CommandSpec, args: list[bytes]) -> None:
        assert spec.each_key is not None
        parts = spec.each_key(args, self.version)
        gathered = self.room.gather(len(parts.changes))
        done = self._waits()
        done.gathered = gathered
        combine = parts.combine  # and not the changes, which may be dropped
        left = len(parts.changes)

        def taker(place: int) -> Callable[[Reply], None]:
            def take(reply: Reply) -> None:
                nonlocal left
                gathered.put(place, reply)
                left -= 1
                if not left:
                    replies = gathered.close()
                    done(None if self.is_gone else combined_reply(combine, replies))

            return take

        keys = self.database.keys
        for place, (key, change) in enumerate(parts.changes):
            keys.submit(key, done.droppable(gathered.bounded(change)), taker(place), self.turns)

    async def _finish(self, work: Coroutine[Any, Any, Reply], done: BegunCommand) -> None:
        reply: Reply
        try:
            reply = await work
        except RedisError as error:
            reply = error
        except RingmillError as error:
            reply = self.database.keys.redis_error_of(error)
        except Exception:  # noqa: BLE001 - a bug in one command must not leave its caller waiting
            _log.exception("a command of a caller failed")
            reply = GATEWAY_FAILED
        done.version, done.is_silent = self.version, self.reply_mode.is_silent
        self._is_held = False
        done(reply)

    def _waits(self) -> BegunCommand:
        one = BegunCommand(self, self._size)
        self._waiting.append(one)
        self._unanswered += 1
        self._begun_bytes += one.size
        return one

    def _answered(self, reply: Reply) -> None:
        self.metered.asked_s = None  # it is answered at once
        if self._waiting:
            self._waits()(reply)
            return
        self.metered.answered(self.metered.asked, None, reply)
        if not self.reply_mode.is_silent:
            self._send([self.room.encoded(reply, self.version)])

    def _send(self, answers: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(answers)

    def _unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def tell_growth(self) -> None:
        """Tell the door what is held now: it has become more."""
        if self._transport is None:
            return  # nothing is added to what has gone, and the door looks at that itself
        former, self.told_bytes = self.told_bytes, self.held_bytes
        self.door.note_growth(self.told_bytes - former)

    def _close_if_answered(self) -> None:
        if not self._ends_after or self._unanswered or self._backlog or self._transport is None:
            return
        if not self._is_refused:
            self._transport.close()
        elif not self._lingers and not self._transport.is_closing():
            # If it were closed now, and more of the command came, the error would be lost.
            self._lingers = True
            self._transport.write_eof()
            self._transport.resume_reading()
            asyncio.get_running_loop().call_later(_LINGERS_S, self.abort)

    def _keep(self, work: Coroutine[Any, Any, Reply], done: BegunCommand, *, only_reads: bool) -> None:
        """Have work done that may be cancelled once the caller has gone."""
        task = asyncio.create_task(self._finish(work, done))
        self._tasks[task] = only_reads

        def ended(task: asyncio.Task[None]) -> None:
            del self._tasks[task]
            work.close()
            if task.cancelled() and self.is_gone:
                done(None)

        task.add_done_callback(ended)


def _shown(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "?"
