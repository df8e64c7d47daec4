"""The story of one chaos run: form a cluster, load and faults, heal, come to rest, look, check.

Workload, sessions, history and checkers are the simulator's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from chaos.loads.ground import Ground
from chaos.loads.object_load import ObjectLoad
from chaos.loads.rest import QUIET_S, hints_delivered, look_at_owners
from chaos.network.links import Links
from chaos.real_faults import RealInjector, draw_real_faults
from chaos.real_nodes import QUORUM, RealNodes, traceback_violations
from ringmill.cluster.errors import RingmillError
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.subjects.objects.checkers.every import check_real
from ringmill.simulator.subjects.objects.checkers.staleness import staleness_s
from ringmill.simulator.world.seeds import stream

__all__ = ["ChaosOptions", "ChaosResult", "run_chaos"]

FORM_S = 90.0


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """Options of one run.  `operations` ends the load early."""

    seed: int = 1
    seconds: float = 30.0
    nodes: int = 5
    operations: int = 200_000


@dataclass(slots=True)
class ChaosResult:
    """What came of a run; times in seconds."""

    options: ChaosOptions
    history: History = field(default_factory=lambda: History(default_w=QUORUM))
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
            await _drive(nodes, links, result)
            result.connections = links.accepted
    except* (RingmillError, TimeoutError) as group:
        result.violations += [
            Violation("run", b"", f"{type(error).__name__}: {error}") for error in group.exceptions
        ]
    finally:
        nodes.stop()
    result.tracebacks = nodes.tracebacks()
    result.history.crashed = nodes.crashed
    result.violations += [*check_real(result.history), *traceback_violations(result.tracebacks)]
    if not any(operation.is_ok for operation in result.history.operations):
        result.violations.append(Violation("run", b"", "nothing that was asked was answered"))
    result.stale_s = staleness_s(result.history)
    return result


async def _drive(nodes: RealNodes, links: Links, result: ChaosResult) -> None:
    ground = Ground(result.options.seed, nodes, await nodes.form(FORM_S), result.history, crowd=2)
    injector = RealInjector(nodes, links)
    try:
        await _under_faults(ground, injector, result.options)
    finally:
        result.faults = dict(sorted(injector.fired.items()))
    healed = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(QUIET_S):
            await hints_delivered(nodes)
            result.converged_s = asyncio.get_running_loop().time() - healed
            result.keys = await look_at_owners(ground)
    except TimeoutError:
        result.converged_s = None
        result.violations.append(Violation("C2", b"", f"not at rest {QUIET_S:.0f} s after the last fault"))


async def _under_faults(ground: Ground, injector: RealInjector, options: ChaosOptions) -> None:
    """Load and faults side by side; the load ends with the faults."""
    faults = draw_real_faults(stream(options.seed, "faults"), ground.nodes.names, options.seconds)
    async with ObjectLoad(ground, most=options.operations) as load, asyncio.TaskGroup() as group:
        group.create_task(load.work())
        await injector.run(faults, options.seconds)
        ground.is_over.set()
