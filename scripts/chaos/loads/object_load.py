"""Keys and values, as the simulator draws them.

Keys change every round, so that contexts stay small however often nodes are restarted, and checking a long
run stays cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from chaos.loads.ground import Ground
from chaos.loads.load import Load, drawn_timeout_s
from chaos.loads.outcomes import counted
from ringmill.client.checked.planned_rounds import work_rounds
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import Operation
from ringmill.simulator.subjects.objects.sessions import Session
from ringmill.simulator.subjects.objects.workload import PlannedOperation, draw_workload
from ringmill.simulator.world.seeds import stream

__all__ = ["ObjectLoad"]

SESSIONS: Final = 4
ROUND_OPERATIONS: Final = 400
ROUND_KEYS: Final = 8


class ObjectLoad(Load):
    """`most`: it ends by itself after this number of operations."""

    def __init__(self, ground: Ground, most: float = float("inf")) -> None:
        super().__init__(ground)
        self._most = most
        draws = stream(ground.seed, "sessions")
        self._by_name = {
            name: ground.client(Session, name, drawn_timeout_s(draws))
            for name in (f"s{number}" for number in range(SESSIONS * ground.crowd))
        }
        self._operations = ground.history.operations

    def _sessions(self) -> list[Session]:
        return list(self._by_name.values())

    async def work(self) -> None:
        await work_rounds(self._by_name, self._drawn, self._ask, self._is_over)

    def _is_over(self) -> bool:
        return super()._is_over() or len(self._operations) >= self._most

    async def read_final_state(self) -> None:
        """The run looks at all keys and values."""

    def check(self) -> list[Violation]:
        return []

    def figures(self) -> Mapping[str, int]:
        return counted(one for one in self._operations if one.session in self._by_name)

    async def _ask(self, session: Session, plan: PlannedOperation) -> Operation:
        return await session.ask(replace(plan, index=len(self._operations)), self._operations)

    def _drawn(self, number: int) -> list[PlannedOperation]:
        """A round's plans, on keys and with values of its own."""
        plans = draw_workload(
            stream(self._ground.seed, f"workload/{number}"),
            operations=ROUND_OPERATIONS,
            sessions=len(self._by_name),
            keys=ROUND_KEYS,
        )
        mark = b"r%d/" % number
        return [replace(plan, key=mark + plan.key, value=mark + plan.value) for plan in plans]
