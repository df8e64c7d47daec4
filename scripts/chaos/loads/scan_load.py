"""Scans beside writers: of each key one client alone writes.

Other loads write keys of the same keyspace, so every prefix of a scan is within those written here.  Keys
change every round; the last scan shows all of them.
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
from ringmill.simulator.subjects.objects.sessions import Session
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.subjects.scans.checkers import check_scans
from ringmill.simulator.subjects.scans.sessions import ScanSession
from ringmill.simulator.subjects.scans.workload import WRITERS, PlannedScan, draw_scans, draw_writes
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.world import DEFAULT_KEYSPACE

__all__ = ["ScanLoad"]

SCANNERS: Final = ("c0", "c1")
SCANS: Final = 4  # of each scanner and round
PATIENCE_S: Final = 20.0
LAST_PATIENCE_S: Final = 100.0
ALL: Final = b"scan "


class ScanLoad(Load):
    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        draws = stream(ground.seed, "scans/sessions")
        self._by_name: dict[str, Session | ScanSession] = {
            name: ground.client(Session, name, drawn_timeout_s(draws)) for name in WRITERS
        }
        for name in SCANNERS:
            self._by_name[name] = ground.client(
                ScanSession, name, drawn_timeout_s(draws), patience_s=PATIENCE_S
            )

    def _sessions(self) -> list[Session | ScanSession]:
        return list(self._by_name.values())

    async def work(self) -> None:
        await work_rounds(self._by_name, self._drawn, self._ask, self._is_over)

    async def read_final_state(self) -> None:
        """Scan all of it, in pages."""
        last = self._ground.client(ScanSession, "c-last", 10.0, patience_s=LAST_PATIENCE_S)
        async with last:
            plan = PlannedScan("c-last", ALL, 100, 0.0)
            await last.scan(plan, self._ground.history.scans, is_of_core=True)

    def check(self) -> list[Violation]:
        """The last scan owes an answer, as one of a healed core does."""
        topology = self._ground.topology
        place = lambda key: (topology.partition_of(DEFAULT_KEYSPACE, key), key)  # noqa: E731
        return list(check_scans(self._ground.history, place))

    def figures(self) -> Mapping[str, int]:
        history = self._ground.history
        return {
            "scans": len(history.scans),
            "complete": sum(scan.is_complete for scan in history.scans),
            **counted(history.scan_writes),
        }

    async def _ask(self, session: Session | ScanSession, plan: PlannedOperation | PlannedScan) -> None:
        history = self._ground.history
        if isinstance(session, Session) and isinstance(plan, PlannedOperation):
            place = replace(plan, index=len(history.scan_writes))
            await session.ask(place, history.scan_writes)
        elif isinstance(session, ScanSession) and isinstance(plan, PlannedScan):
            await session.scan(plan, history.scans)

    def _drawn(self, number: int) -> list[PlannedOperation | PlannedScan]:
        mark, seed = b"%s%d/" % (ALL, number), self._ground.seed
        writes = [
            replace(plan, key=mark + plan.key, value=mark + plan.value)
            for name in WRITERS
            for plan in draw_writes(stream(seed, f"scans/{name}/{number}"), name)
        ]
        scans = [
            replace(plan, prefix=mark + plan.prefix)
            for name in SCANNERS
            for plan in draw_scans(stream(seed, f"scans/{name}/{number}"), name, SCANS)
        ]
        return [*writes, *scans]
