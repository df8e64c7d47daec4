"""The story of one mixed run: form a cluster, all loads under round after round of faults, rest, check."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from chaos.loads.every import LOADS
from chaos.loads.ground import Ground
from chaos.loads.load import Load
from chaos.loads.rest import QUIET_S, hints_delivered, look_at_owners
from chaos.network.links import Links
from chaos.real_faults import RealInjector, Round, draw_rounds
from chaos.real_nodes import QUORUM, REPLICAS, RealNodes, traceback_violations
from ringmill.cluster.errors import RingmillError
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.subjects.merging.workload import keyspaces_for
from ringmill.simulator.subjects.objects.checkers.every import check_real
from ringmill.simulator.world.seeds import stream

__all__ = ["MixedOptions", "MixedResult", "run_mixed"]

FORM_S: Final = 90.0
ROUND_S: Final = 30.0  # more than any round may take
LOOK_S: Final = 300.0
ANSWERED_S: Final = 60.0
POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class MixedOptions:
    """Options of one run.  `unsynced`: bytes that a killed node loses at the end of its log, which breaks the
    promise of synced writes."""

    seed: int = 1
    rounds: int = 100
    nodes: int = 5
    loads: Sequence[str] = tuple(LOADS)
    crowd: int = 1
    unsynced: int = 0


@dataclass(slots=True)
class MixedResult:
    """What came of a run; times in seconds."""

    options: MixedOptions
    history: History = field(default_factory=lambda: History(default_w=QUORUM))
    rounds: int = 0  # that are over
    load_s: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)
    figures: dict[str, Mapping[str, int]] = field(default_factory=dict)  # of each load
    violations: list[Violation] = field(default_factory=list)
    converged_s: float | None = None  # from the end of the faults until the last hint was delivered
    keys: int = 0
    tracebacks: int = 0  # in the logs of the nodes


async def run_mixed(options: MixedOptions, folder: str, tell: Callable[[str], None]) -> MixedResult:
    """One run; its processes are gone afterwards.  What went wrong is in the result.

    `tell` is called with a line about each round.
    """
    result = MixedResult(options)
    nodes = RealNodes(folder, options.nodes, unsynced=options.unsynced)
    try:
        async with Links(nodes.ports, lambda: nodes.pids) as links:
            await _drive(nodes, links, result, tell)
    except* (RingmillError, TimeoutError) as group:
        result.violations += [
            Violation("run", b"", f"{type(error).__name__}: {error}") for error in group.exceptions
        ]
    finally:
        nodes.stop()
    result.tracebacks = nodes.tracebacks()
    result.violations += traceback_violations(result.tracebacks)
    return result


async def _drive(nodes: RealNodes, links: Links, result: MixedResult, tell: Callable[[str], None]) -> None:
    options, history = result.options, result.history
    topology = await nodes.form(FORM_S, keyspaces_for(REPLICAS))
    ground = Ground(options.seed, nodes, topology, history, options.crowd)
    injector = RealInjector(nodes, links)
    loop = asyncio.get_running_loop()
    loads = {name: LOADS[name](ground) for name in options.loads}
    try:
        async with AsyncExitStack() as stack:
            for load in loads.values():
                await stack.enter_async_context(load)
            began = loop.time()
            async with (
                asyncio.timeout(2 * ANSWERED_S + ROUND_S * (1 + options.rounds)),
                asyncio.TaskGroup() as group,
            ):
                for load in loads.values():
                    group.create_task(load.work())
                await _wait_answered(loads)  # first: clients find out where they are
                await _rounds(ground, injector, result, tell)
                await _wait_answered(loads)
                ground.is_over.set()
            result.load_s = loop.time() - began
            await _rest(ground, loads, result)
    finally:
        history.crashed, history.fired = nodes.crashed, injector.fired
        result.faults = dict(sorted(injector.fired.items()))
        result.figures = {name: load.figures() for name, load in loads.items()}
        result.violations += check_real(history)
        result.violations += [found for load in loads.values() for found in load.check()]
        result.violations += [
            Violation("run", b"", f"nothing that {name} asked was answered")
            for name, figures in result.figures.items()
            if not figures.get("ok")
        ]


async def _rounds(
    ground: Ground, injector: RealInjector, result: MixedResult, tell: Callable[[str], None]
) -> None:
    options = result.options
    drawn = draw_rounds(stream(options.seed, "rounds"), ground.nodes.names, options.rounds)
    for number, each in enumerate(drawn, 1):
        async with AsyncExitStack() as stack:
            if each.beside is not None:
                await stack.enter_async_context(injector.applied(each.beside))
            await stack.enter_async_context(injector.applied(each.fault))
            await asyncio.sleep(each.fault.lasts_s)
        await asyncio.sleep(each.gap_s)
        result.rounds = number
        tell(f"{number:4} of {options.rounds}  {_named(each)}; {_asked(ground.history):,} requests so far")


async def _wait_answered(loads: Mapping[str, Load]) -> None:
    """Until each load has been answered once: a short run on a slow machine shows something of it, too."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWERED_S):
            while not all(load.figures().get("ok") for load in loads.values()):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(POLL_S)


async def _rest(ground: Ground, loads: Mapping[str, Load], result: MixedResult) -> None:
    """All hints delivered, then the owners' copies, then what each load has to read in the end."""
    loop = asyncio.get_running_loop()
    healed = loop.time()
    try:
        async with asyncio.timeout(QUIET_S):
            await hints_delivered(ground.nodes)
        result.converged_s = loop.time() - healed
        async with asyncio.timeout(LOOK_S):
            result.keys = await look_at_owners(ground)
            for load in loads.values():
                await load.read_final_state()
    except TimeoutError:
        story = "hints are not delivered" if result.converged_s is None else "not everything could be read"
        seconds = loop.time() - healed
        result.violations.append(Violation("C2", b"", f"{story} {seconds:.0f} s after the last fault"))


def _named(each: Round) -> str:
    faults = [each.fault] if each.beside is None else [each.fault, each.beside]
    faults_text = " beside ".join(f"{fault.kind} {' '.join(fault.nodes)}" for fault in faults)
    return f"{faults_text} for {each.fault.lasts_s:.1f} s"


def _asked(history: History) -> int:
    objects = len(history.operations) + len(history.scans) + len(history.scan_writes)
    return objects + len(history.registers) + len(history.merging)
