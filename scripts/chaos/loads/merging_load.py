"""Counters, sets and maps, on keys that change every round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from chaos.loads.ground import Ground
from chaos.loads.load import Load, drawn_timeout_s, until_answered
from chaos.loads.outcomes import counted
from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.merging_plans import PlannedChange, draw_changes
from ringmill.client.checked.planned_rounds import work_rounds
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.subjects.merging.checkers import check_merging
from ringmill.simulator.subjects.merging.sessions import MergingSession
from ringmill.simulator.world.seeds import stream

__all__ = ["MergingLoad"]

CHANGES: Final = 200
SESSIONS: Final = 3
PAUSE_S: Final = 0.02
LAST_READ_S: Final = 10.0


class MergingLoad(Load):
    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        draws = stream(ground.seed, "merging/sessions")
        self._by_name = {
            name: ground.client(MergingSession, name, drawn_timeout_s(draws))
            for name in (f"m{number}" for number in range(SESSIONS * ground.crowd))
        }
        self._calls = ground.history.merging

    def _sessions(self) -> list[MergingSession]:
        return list(self._by_name.values())

    async def work(self) -> None:
        await work_rounds(self._by_name, self._drawn, self._ask, self._is_over)

    async def read_final_state(self) -> None:
        """Read all of them until they are told."""
        asked = sorted({(call.policy, call.key) for call in self._calls})
        async with self._ground.client(MergingSession, "m-last", LAST_READ_S) as session:
            for policy, key in asked:
                plan = PlannedChange(0, "m-last", policy, "get", key, 0.0, b"", 0)
                await until_answered(partial(session.make, plan, self._calls))

    def check(self) -> list[Violation]:
        return list(check_merging(self._calls))

    def figures(self) -> Mapping[str, int]:
        return counted(self._calls)

    async def _ask(self, session: MergingSession, plan: PlannedChange) -> MergingCall:
        return await session.make(plan, self._calls)

    def _drawn(self, number: int) -> list[PlannedChange]:
        draws = stream(self._ground.seed, f"merging/{number}")
        plans = draw_changes(draws, changes=CHANGES, sessions=len(self._by_name), pause_s=PAUSE_S)
        return [
            replace(plan, index=number * CHANGES + plan.index, key=b"%s %d" % (plan.key, number))
            for plan in plans
        ]
