"""The story of one chaos run: form a cluster, load and faults, heal, come to rest, look, check.

Workload, sessions, history and checkers are the simulator's.  Keys change every round, so that contexts stay
small however often nodes are restarted, and checking a long run stays cheap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from chaos.network.links import Links
from chaos.owners import finals
from chaos.real_faults import RealInjector, draw_real_faults
from chaos.real_nodes import REPLICAS, RealNodes
from ringmill.client.connection import open_link
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import DeadlineExceeded, RingmillError, Unavailable
from ringmill.cluster.ring.topology import Topology
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.subjects.objects.checkers.every import check_all
from ringmill.simulator.subjects.objects.checkers.staleness import staleness_s
from ringmill.simulator.subjects.objects.sessions import Session, insist
from ringmill.simulator.subjects.objects.workload import PlannedOperation, draw_workload
from ringmill.simulator.world.seeds import stream

__all__ = ["ChaosOptions", "ChaosResult", "run_chaos"]

FORM_S = 90.0
FLIGHT_S = 6.0  # the longest a request may still be under way at its coordinator
QUIET_S = 180.0
POLL_S = 0.25
LAST_READ_S = 10.0


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """Of one run.  `operations` ends the load early; a round is a draw of the simulator's workload."""

    seed: int = 1
    seconds: float = 30.0
    nodes: int = 5
    operations: int = 200_000
    sessions: int = 8
    round_operations: int = 400
    round_keys: int = 8


@dataclass(slots=True)
class ChaosResult:
    """What came of a run; times in seconds."""

    options: ChaosOptions
    history: History = field(default_factory=History)
    faults: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    converged_s: float | None = None  # from the end of the faults until the last hint was delivered
    keys: int = 0
    connections: int = 0  # through the proxies
    tracebacks: int = 0  # in the logs of the nodes
    stale_s: list[float] = field(default_factory=list)


async def run_chaos(options: ChaosOptions, folder: str) -> ChaosResult:
    """One run; its processes are gone afterwards.  What went wrong is in the result."""
    result = ChaosResult(options)
    nodes = RealNodes(folder, options.nodes)
    try:
        async with Links(nodes.ports, lambda: nodes.pids) as links:
            await _story(nodes, links, result)
            result.connections = links.accepted
    except* (RingmillError, TimeoutError) as group:
        result.violations += [
            Violation("run", b"", f"{type(error).__name__}: {error}") for error in group.exceptions
        ]
    finally:
        nodes.stop()
    result.tracebacks = nodes.tracebacks()
    result.history.crashed = nodes.crashed
    result.violations += check_all(result.history)
    result.stale_s = staleness_s(result.history)
    return result


async def _story(nodes: RealNodes, links: Links, result: ChaosResult) -> None:
    topology = await nodes.form(FORM_S)
    injector = RealInjector(nodes, links)
    load = _Load(nodes, result)
    try:
        await load.under(injector)
    finally:
        result.faults = dict(sorted(injector.fired.items()))
    healed = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(QUIET_S):
            await _hints_delivered(nodes)
            result.converged_s = asyncio.get_running_loop().time() - healed
            await _look(nodes, topology, result)
    except TimeoutError:
        result.converged_s = None
        result.violations.append(Violation("C2", b"", f"not at rest {QUIET_S:.0f} s after the last fault"))


class _Load:
    """Sessions at work, round after round, until time or operations are used up."""

    def __init__(self, nodes: RealNodes, result: ChaosResult) -> None:
        self._options = result.options
        self._operations = result.history.operations
        draws = stream(self._options.seed, "sessions")
        self._sessions = {
            name: _session(name, nodes, draws.choice((0.3, 1.0, 5.0)))
            for name in (f"s{number}" for number in range(self._options.sessions))
        }
        self._nodes = nodes
        self._is_over = False

    async def under(self, injector: RealInjector) -> None:
        """Load and faults side by side; the load ends with the faults."""
        options = self._options
        faults = draw_real_faults(stream(options.seed, "faults"), self._nodes.names, options.seconds)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for session in self._sessions.values():
                await stack.enter_async_context(session)
            group.create_task(self._rounds())
            await injector.run(faults, options.seconds)
            self._is_over = True

    async def _rounds(self) -> None:
        number = 0
        while not self._is_over and len(self._operations) < self._options.operations:
            plans = self._drawn(number)
            work = [
                self._work_off(session, [plan for plan in plans if plan.session == name])
                for name, session in self._sessions.items()
            ]
            await asyncio.gather(*work)
            number += 1

    async def _work_off(self, session: Session, plans: Sequence[PlannedOperation]) -> None:
        for plan in plans:
            await asyncio.sleep(plan.pause_s)
            if self._is_over:
                return
            await session.ask(replace(plan, index=len(self._operations)), self._operations)

    def _drawn(self, number: int) -> list[PlannedOperation]:
        """A round's plans, on keys and with values of its own."""
        options = self._options
        plans = draw_workload(
            stream(options.seed, f"workload/{number}"),
            operations=options.round_operations,
            sessions=options.sessions,
            keys=options.round_keys,
        )
        mark = b"r%d/" % number
        return [replace(plan, key=mark + plan.key, value=mark + plan.value) for plan in plans]


async def _hints_delivered(nodes: RealNodes) -> None:
    await nodes.wait_ready(QUIET_S)
    await asyncio.sleep(FLIGHT_S)
    while not await _are_at_rest(nodes):  # noqa: ASYNC110 - other processes cannot set an event
        await asyncio.sleep(POLL_S)


async def _are_at_rest(nodes: RealNodes) -> bool:
    try:
        return not any((await nodes.hints()).values())
    except (Unavailable, DeadlineExceeded):  # busy: asked again, for as long as the whole may take
        return False


async def _look(nodes: RealNodes, topology: Topology, result: ChaosResult) -> None:
    """What owners hold before anybody reads; one read of each key from all; what they hold then."""
    history = result.history
    keys = sorted({operation.key for operation in history.operations})
    result.keys = len(keys)
    history.handed_over = await finals(topology, nodes.addresses, keys)
    async with _session("last", nodes, LAST_READ_S) as session:
        await insist(session, keys, lambda _: str(REPLICAS), history.operations)
    history.finals = await finals(topology, nodes.addresses, keys)


def _session(name: str, nodes: RealNodes, timeout_s: float) -> Session:
    return Session(
        name,
        addresses=list(nodes.proxied.values()),
        dial=partial(open_link, session=True),
        entropy=OsEntropy(),
        timeout_s=timeout_s,
    )
