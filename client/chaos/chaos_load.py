"""The checked load of a run: objects, registers and counters, each in a keyspace of its own.

Objects are written and read with contexts by one writer a key (client/local/checked_load.py).  Several
clients meet on each register and counter, whose keys change every round, so that judging a long run stays
cheap (client/checked).  Pauses bound the rate: about 280 requests per second at most.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

from ringmill.client.chaos.load_tally import LoadTally
from ringmill.client.checked.merging_caller import MergingCaller
from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.merging_plans import MERGING_KEYS, PlannedChange, draw_changes
from ringmill.client.checked.merging_stories import merging_breaches
from ringmill.client.checked.planned_rounds import work_rounds
from ringmill.client.checked.register_caller import RegisterCaller
from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.register_plans import REGISTER_KEYS, PlannedCall, draw_calls
from ringmill.client.checked.register_stories import register_breaches
from ringmill.client.checked.seeds import seeded_stream
from ringmill.client.connection import AsyncClient
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.local.checked_load import CheckedLoad, KeyStep
from ringmill.client.registers.registers import AsyncRegisters

__all__ = ["SORTS", "ChaosLoad", "Judged", "Spaces", "judged_answers", "made_spaces"]

SORTS: Final = ("objects", "registers", "counters")
OBJECT_KEYS: Final = 64
WRITERS: Final = 8
REGISTER_CALLERS: Final = 4
COUNTERS: Final = 2
WRITER_PAUSE_S: Final = 0.1
CALL_PAUSE_S: Final = 0.05
ROUND_CALLS: Final = 200
KEPT_STEPS: Final = 50  # of each key of an object, for the history of one that broke a promise
LAST_READ_S: Final = 10.0
AGAIN_S: Final = 0.25
READERS: Final = 8


@dataclass(frozen=True, slots=True)
class Spaces:
    """Where the load reads and writes."""

    objects: AsyncKeyspace
    registers: AsyncRegisters
    counters: AsyncKeyspace


async def made_spaces(db: AsyncClient, named: Callable[[str], str]) -> Spaces:
    """Make the keyspaces of a load; `named` gives the name of each sort."""
    objects, registers, counters = map(named, SORTS)
    await db.keyspaces.create(objects)
    await db.keyspaces.create(registers, kind="registers")
    await db.keyspaces.create(counters, policy="counter")
    return Spaces(db.keyspace(objects), db.registers.keyspace(registers), db.keyspace(counters))


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict of one checker: what it looked at, and each breach in a sentence."""

    checker: str
    looked_at: str
    breaches: tuple[str, ...]

    @property
    def has_held(self) -> bool:
        return not self.breaches


def judged_answers(tally: LoadTally) -> Judged:
    """Of all requests: errors that no fault excuses are breaches."""
    return Judged("answers", f"{tally.requests:,} requests", tally.breaches)


class ChaosLoad:
    """`work` until told to stop, `look` once all nodes are back, then `judged`, which may be asked before."""

    def __init__(self, spaces: Spaces, seed: int, tally: LoadTally) -> None:
        self._spaces = spaces
        self._seed = seed
        self._tally = tally
        self._steps: dict[bytes, deque[KeyStep]] = defaultdict(lambda: deque(maxlen=KEPT_STEPS))
        self._broken_keys: dict[bytes, list[KeyStep]] = {}
        self._objects = CheckedLoad(
            spaces.objects, OBJECT_KEYS, WRITERS, "object", pause_s=WRITER_PAUSE_S, noted=self._noted_step
        )
        self._register_calls: list[RegisterCall] = []
        self._counter_calls: list[MergingCall] = []
        self._is_done = False

    async def work(self, is_over: Callable[[], bool]) -> None:
        """All three until `is_over()`; each client finishes what it has asked."""
        registers = {
            name: RegisterCaller(name, self._spaces.registers)
            for name in (f"r{number}" for number in range(REGISTER_CALLERS))
        }
        counters = {
            name: MergingCaller(name, {"counter": self._spaces.counters})
            for name in (f"m{number}" for number in range(COUNTERS))
        }
        async with asyncio.TaskGroup() as group:
            group.create_task(self._objects.run(is_over))
            group.create_task(work_rounds(registers, self._register_plans, self._call, is_over))
            group.create_task(work_rounds(counters, self._counter_plans, self._count, is_over))
        self._is_done = True

    async def look(self) -> list[str]:
        """Read every object from all of its owners, and every register and counter.

        Returns what could not be read: nobody answered for 10 s.
        """
        self._objects.failed_reads.clear()
        self._objects.read_tries = 5
        await self._objects.read_back("all")
        unread = [f"object {text}" for text in self._objects.failed_reads]
        register = RegisterCaller("last", self._spaces.registers)
        counter = MergingCaller("last", {"counter": self._spaces.counters})
        asked: list[tuple[str, Callable[[], Awaitable[RegisterCall | MergingCall]]]] = []
        for key in sorted({call.key for call in self._register_calls}):
            plan = PlannedCall(0, "last", "get", key, 0.0, 0, by_version=False, deletes=False)
            asked.append((f"register {key!r}", partial(register.make, plan, self._register_calls)))
        for key in sorted({call.key for call in self._counter_calls}):
            change = PlannedChange(0, "last", "counter", "get", key, 0.0, b"", 0)
            asked.append((f"counter {key!r}", partial(counter.make, change, self._counter_calls)))

        async def read(some: list[tuple[str, Callable[[], Awaitable[RegisterCall | MergingCall]]]]) -> None:
            for name, ask in some:
                if error := await _last_error(ask):
                    unread.append(f"{name}: {error}")

        async with asyncio.TaskGroup() as group:
            for reader in range(READERS):
                group.create_task(read(asked[reader::READERS]))
        return unread

    def judged(self) -> list[Judged]:
        """What the checkers say of all that was answered so far."""
        objects, registers, counters = self._objects, self._register_calls, self._counter_calls
        changes, additions = _acknowledged(registers), _acknowledged(counters)
        return [
            Judged(
                "objects",
                f"{objects.acknowledged:,} acknowledged writes, {objects.reads:,} reads, {objects.keys} keys",
                (*objects.lost, *self._nothing(objects.acknowledged)),
            ),
            Judged(
                "registers",
                _looked_at(registers, changes),
                (*_breach_lines(register_breaches(registers)), *self._nothing(changes)),
            ),
            Judged(
                "counters",
                _looked_at(counters, additions),
                (*_breach_lines(merging_breaches(counters)), *self._nothing(additions)),
            ),
        ]

    def _nothing(self, acknowledged: int) -> tuple[str, ...]:
        """What is told of a load that has ended and has shown nothing."""
        return ("no change was acknowledged",) if self._is_done and not acknowledged else ()

    def witness(self) -> Iterator[Mapping[str, Any]]:
        """All that was asked of the keys about which a promise was broken, in order, as JSON values.

        Of an object the last 50 requests before the breach.
        """
        for steps in self._broken_keys.values():
            yield from (_line("object", step) for step in steps)
        for sort, calls, breaches in (
            ("register", self._register_calls, register_breaches(self._register_calls)),
            ("counter", self._counter_calls, merging_breaches(self._counter_calls)),
        ):
            broken = {key for key, _ in breaches}
            yield from (_line(sort, call) for call in calls if call.key in broken)

    def _noted_step(self, step: KeyStep) -> None:
        self._tally.note(step)
        kept = self._steps[step.key]
        kept.append(step)
        if step.fault:
            self._broken_keys.setdefault(step.key, list(kept))

    async def _call(self, caller: RegisterCaller, plan: PlannedCall) -> None:
        self._tally.note(await caller.make(plan, self._register_calls))

    async def _count(self, caller: MergingCaller, plan: PlannedChange) -> None:
        self._tally.note(await caller.make(plan, self._counter_calls))

    def _register_plans(self, number: int) -> list[PlannedCall]:
        return draw_calls(
            seeded_stream(self._seed, f"registers/{number}"),
            [b"%s %d" % (key, number) for key in REGISTER_KEYS],
            calls=ROUND_CALLS,
            sessions=REGISTER_CALLERS,
            pause_s=CALL_PAUSE_S,
        )

    def _counter_plans(self, number: int) -> list[PlannedChange]:
        drawn = draw_changes(
            seeded_stream(self._seed, f"counters/{number}"),
            changes=ROUND_CALLS,
            sessions=COUNTERS,
            pause_s=CALL_PAUSE_S,
            policies=("counter",),
        )
        return [replace(plan, key=b"%s %d" % (MERGING_KEYS["counter"], number)) for plan in drawn]


async def _last_error(ask: Callable[[], Awaitable[RegisterCall | MergingCall]]) -> str:
    """Read until it is answered, for 10 s; the last error, "" when it was answered."""
    loop = asyncio.get_running_loop()
    until = loop.time() + LAST_READ_S
    while (call := await ask()).outcome != "ok":
        if loop.time() >= until:
            return call.error
        await asyncio.sleep(AGAIN_S)
    return ""


def _acknowledged(calls: list[RegisterCall] | list[MergingCall]) -> int:
    return sum(call.kind != "get" and call.outcome == "ok" for call in calls)


def _looked_at(calls: list[RegisterCall] | list[MergingCall], changes: int) -> str:
    return f"{changes:,} acknowledged changes, {len(calls):,} calls, {len({call.key for call in calls})} keys"


def _breach_lines(breaches: Iterator[tuple[bytes, str]]) -> tuple[str, ...]:
    return tuple(f"{key!r}: {story}" for key, story in breaches)


def _line(sort: str, call: KeyStep | RegisterCall | MergingCall) -> dict[str, Any]:
    values = asdict(call)
    values.pop("is_of_core", None)
    return {"of": sort, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
