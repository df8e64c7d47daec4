"""Registers: groups of clients that meet on a few keys, which change every round."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from chaos.loads.ground import Ground
from chaos.loads.load import Load, drawn_timeout_s, until_answered
from chaos.loads.outcomes import counted
from ringmill.client.checked.planned_rounds import work_rounds
from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.register_plans import REGISTER_KEYS, PlannedCall, draw_calls
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.subjects.registers.checkers import check_registers
from ringmill.simulator.subjects.registers.sessions import RegisterSession
from ringmill.simulator.world.seeds import stream

__all__ = ["RegisterLoad"]

LAST_READ_S: Final = 10.0
PAUSE_S: Final = 0.01
ROUND_CALLS: Final = 400
SESSIONS: Final = 6  # of a group, one or more


class RegisterLoad(Load):
    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._groups = [self._group(number) for number in range(ground.crowd)]
        self._calls = ground.history.registers

    def _group(self, number: int) -> dict[str, RegisterSession]:
        draws = stream(self._ground.seed, f"sessions/{number}")
        return {
            f"r{place}": self._session(f"g{number}r{place}", drawn_timeout_s(draws))
            for place in range(SESSIONS)
        }

    def _session(self, name: str, timeout_s: float) -> RegisterSession:
        return self._ground.client(RegisterSession, name, timeout_s, clock=SystemClock())

    def _sessions(self) -> list[RegisterSession]:
        return [session for group in self._groups for session in group.values()]

    async def work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, group in enumerate(self._groups):
                tasks.create_task(self._work_of(number, group))

    async def read_final_state(self) -> None:
        """Read every register until it is told."""
        plan = PlannedCall(0, "last", "get", b"", 0.0, 0, by_version=False, deletes=False)
        async with self._session("last", LAST_READ_S) as session:
            for key in sorted({call.key for call in self._calls}):
                last = replace(plan, key=key)
                await until_answered(partial(session.make, last, self._calls))

    def check(self) -> list[Violation]:
        return list(check_registers(self._calls))

    def figures(self) -> Mapping[str, int]:
        return counted(self._calls)

    async def _work_of(self, number: int, group: Mapping[str, RegisterSession]) -> None:
        def drawn(of_round: int) -> list[PlannedCall]:
            mark = f"{number}/{of_round}"
            return draw_calls(
                stream(self._ground.seed, f"registers/{mark}"),
                [key + b" " + mark.encode() for key in REGISTER_KEYS],
                calls=ROUND_CALLS,
                sessions=SESSIONS,
                pause_s=PAUSE_S,
            )

        async def ask(session: RegisterSession, plan: PlannedCall) -> RegisterCall:
            return await session.make(plan, self._calls)

        await work_rounds(group, drawn, ask, self._is_over)
