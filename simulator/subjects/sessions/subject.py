"""Sessions with tokens: clients that mostly ask one owner, and must never see a key go back.

The load is that of keys and values, at the weakest levels, by clients that keep what they have seen.  In the
end each session goes on in another process, with its token, and reads every key once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ringmill.client.session_memory import SessionMemory
from ringmill.cluster.ids import ClusterId
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.mix import TWISTS, Mix
from ringmill.simulator.subjects.objects.sessions import Session, wandering
from ringmill.simulator.subjects.objects.subject import ObjectWorkload
from ringmill.simulator.subjects.objects.workload import PlannedOperation, draw_workload
from ringmill.simulator.subjects.sessions.ablations import SESSION_ABLATIONS
from ringmill.simulator.subjects.sessions.checkers import check_last_reads, check_what_is_replaced
from ringmill.simulator.subjects.sessions.marks import SESSION_MARKS
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["SESSIONS", "TokenWorkload"]

_CLUSTER: Final = ClusterId("simulated")
_WEAK: Final = Mix(
    contexts=(1, 8, 2), levels={"one": 8, "": 1}, durabilities={"": 1}, pauses_s=(0.0, 0.0, 0.01, 0.2, 0.5)
)
_KEYS: Final = 4
_MOST_KEYS: Final = (1, 1, 2, 1000)  # that a session keeps exactly
_LAST: Final = 20_000
_AGAIN: Final = " again"
_WANDERING: Final = 0.8  # of the sessions


class TokenWorkload(ObjectWorkload):
    """A Workload (simulator/subjects/subject.py)."""

    tag = "t-"

    def _draw(self, options: SimulationOptions) -> list[PlannedOperation]:
        self._twists = options.mix or ()
        mix = _WEAK
        for twist in self._twists:
            mix = TWISTS[twist](mix)
        plans = draw_workload(
            stream(self._seed, "tokens"),
            operations=options.operations,
            sessions=options.sessions,
            keys=_KEYS,
            mix=mix,
        )
        return [
            replace(plan, session=f"t{plan.session}", key=b"t-" + plan.key, value=b"t-" + plan.value)
            for plan in plans
        ]

    def _names_of(self, options: SimulationOptions) -> list[str]:
        self._tokens: dict[str, SessionMemory] = {}
        return [f"ts{number}" for number in range(options.sessions)]

    def _client(self, name: str, timeout_s: float) -> tuple[Process, Session]:
        """Each request of most sessions goes to another node than the one before."""
        draws = stream(self._seed, f"client/{name}/wanders")
        if draws.random() >= _WANDERING or not self._is_ours(name):
            return super()._client(name, timeout_s)
        return self._client_of(name, timeout_s, list(self._world.addresses), wandering(draws))

    def _is_ours(self, name: str) -> bool:
        return name.removesuffix(_AGAIN) in self._names

    def join(self, world: World) -> None:
        super().join(world)
        world.ground.clients += [f"{name}{_AGAIN}" for name in self._names]

    def _memory_of(self, name: str) -> SessionMemory | None:
        if not self._is_ours(name):
            return None
        owner = name.removesuffix(_AGAIN)
        most_keys = stream(self._seed, f"client/{owner}/memory").choice(_MOST_KEYS)
        if owner not in self._tokens:
            self._tokens[owner] = SessionMemory(_CLUSTER, most_keys=most_keys)
        elif name != owner:
            token = self._tokens[owner].encode()
            self._tokens[owner] = SessionMemory.decode(token, _CLUSTER, most_keys=most_keys)
        return self._tokens[owner]

    async def read_final_state(self) -> None:
        await asyncio.gather(*map(self._read_again, self._names))
        await super().read_final_state()

    async def _read_again(self, name: str) -> None:
        """One read of every key, in another process, as the session goes on."""
        process, session = self._client(f"{name}{_AGAIN}", 5.0)
        session.name = name
        operations = self._world.history.operations

        async def work() -> None:
            async with session:
                for at, key in enumerate(self._keys):
                    plan = PlannedOperation(_LAST + at, name, "get", key, b"", "none", "one", "", 0.0)
                    await session.ask(plan, operations)

        await self._world.loop.spawn(process, work())

    def check(self, history: History) -> list[Violation]:
        return [*super().check(history), *check_what_is_replaced(history), *check_last_reads(history, _LAST)]


def _describe(figures: Figures) -> str:
    return f"{figures['ops']:,} operations of sessions with tokens ({figures['answered']:,} answered)"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"sessions": {name: figures[name] for name in ("ops", "answered")}}


SESSIONS: Final = Subject(
    name="sessions",
    title="Sessions",
    draw=TokenWorkload,
    describe=_describe,
    fields=_fields,
    ablations=SESSION_ABLATIONS,
    marks=SESSION_MARKS,
)
