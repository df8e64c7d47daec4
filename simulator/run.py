"""One simulated run: a pair (seed, options) in, a verdict out.

Everything that a run draws comes from named streams of its seed, so the same pair gives the same run in any
process.  The story of one run: form a cluster, put it under load and faults, heal it, read its final state.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from ringmill.cluster.sometimes import heard_by
from ringmill.simulator.checkers.core import check_core
from ringmill.simulator.checkers.promptness import check_errors
from ringmill.simulator.checkers.purged import check_purged
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.faults.core import break_rest, draw_rest
from ringmill.simulator.faults.drawing import draw_faults, lost_for_good
from ringmill.simulator.faults.fault import Fault, FaultKind
from ringmill.simulator.faults.injector import inject
from ringmill.simulator.history import History, Operation
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.every import fault_kinds, subjects_named, switched_off
from ringmill.simulator.subjects.subject import Figures, Workload
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import draw_tunables
from ringmill.simulator.world.virtual_loop import Stuck
from ringmill.simulator.world.world import World, node_names

__all__ = ["SimulationResult", "drawn_faults", "drawn_workloads", "quiet", "run_seed"]


_LONGEST_RUN_S: Final = 36_000.0  # of virtual time: far above what any run takes
_CORE_SERVES_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """The result of a run.  `story` is empty unless it was requested."""

    seed: int
    options: SimulationOptions
    violations: tuple[Violation, ...]
    virtual_s: float
    steps: int  # callbacks that ran
    faults: Mapping[str, int]  # by kind, how often each fired
    trace: str  # hash of everything that happened
    figures: Mapping[str, Figures]  # by subject
    marks: Mapping[str, int]  # in product code, how often each was met
    story: tuple[str, ...] = ()
    history: History = field(default_factory=History)

    @property
    def is_ok(self) -> bool:
        return not self.violations

    @property
    def verdict(self) -> str:
        return "ok" if self.is_ok else "violation"

    def without_history(self) -> SimulationResult:
        """This result without its history and story, which take memory: what crosses between processes."""
        return replace(self, history=History(), story=())


OnProgress = Callable[[int], None]
"""Called with the number of operations that have begun, whenever it grows."""


def run_seed(
    seed: int, options: SimulationOptions, *, story: bool = False, on_progress: OnProgress | None = None
) -> SimulationResult:
    """Run one seed to its end, whatever comes of it."""
    with quiet():
        return _run(seed, options, story, on_progress)  # which alone keeps its world, for `quiet` to collect


def drawn_workloads(seed: int, options: SimulationOptions) -> dict[str, Workload]:
    """What is asked for in a run, by subject, cut to what the options keep of it."""
    return {subject.name: subject.draw(seed, options) for subject in subjects_named(options.subjects)}


def drawn_faults(seed: int, options: SimulationOptions) -> list[Fault]:
    """The faults of a run, cut to what the options keep of them."""
    kinds = _kinds(options)
    faults = draw_faults(seed, kinds, node_names(options), options.load_s)
    kept = options.only_faults
    return faults if kept is None else [fault for at, fault in enumerate(faults) if at in kept]


def _kinds(options: SimulationOptions) -> list[FaultKind]:
    kinds = fault_kinds(subjects_named(options.subjects))
    return [kind for kind in kinds if options.faults is None or kind.name in options.faults]


def _new_world(seed: int, options: SimulationOptions, story: bool, on_progress: OnProgress | None) -> World:
    tunables = draw_tunables(stream(seed, "tunables"))
    for subject in subjects_named(options.subjects):
        tunables = subject.tuned(seed, tunables)
    world = World(seed, options, tunables, story=story)
    world.loop.longest_s = _LONGEST_RUN_S
    for subject in subjects_named(options.subjects):
        world.keyspaces += subject.keyspaces(options.n)
    if on_progress is not None:
        world.history.operations = _ReportingList(on_progress)
    return world


class _ReportingList(list[Operation]):
    """A list that reports its length whenever it grows."""

    def __init__(self, on_progress: OnProgress) -> None:
        super().__init__()
        self._on_progress = on_progress

    def append(self, operation: Operation, /) -> None:
        super().append(operation)
        self._on_progress(len(self))


def _run(
    seed: int, options: SimulationOptions, story: bool, on_progress: OnProgress | None
) -> SimulationResult:
    workloads = drawn_workloads(seed, options)  # with all safeguards: an oracle needs them
    met: dict[str, int] = {}

    def hear(mark: str) -> None:
        met[mark] = met.get(mark, 0) + 1

    with switched_off(options.safeguards_off), heard_by(hear):
        return _run_and_check(_new_world(seed, options, story, on_progress), workloads, met)


def _run_and_check(
    world: World, workloads: Mapping[str, Workload], met: Mapping[str, int]
) -> SimulationResult:
    """Drive the world to its end, close it, and let every checker judge the history."""
    options, history = world.options, world.history
    found: list[Violation] = []
    for workload in workloads.values():
        workload.join(world)
    try:
        found += world.loop.run_until_complete(_drive(world, list(workloads.values())))
    except (Stuck, Exception) as error:  # noqa: BLE001 - whatever ends a run is what the run shows
        found.append(_ended_by(error))
    for workload in workloads.values():
        try:
            workload.close()
        except Exception as error:  # noqa: BLE001 - it is of this seed, and others of a campaign go on
            found.append(_ended_by(error))
    world.close()
    found += _found_bugs(world)
    history.fired = dict(sorted(world.trace.faults.items()))
    history.first_fired_at = dict(world.trace.first_at)
    history.stall_s = world.tunables.stall_s
    history.spoiling = frozenset(kind.name for kind in _kinds(options) if kind.spoils or kind.loses)
    history.jobs.struck = dict(world.trace.struck)
    for judge in (check_core, check_errors, check_purged):
        found += _judged(partial(judge, history))
    history.remember_purged()
    for workload in workloads.values():
        found += _judged(partial(workload.check, history))
    result = SimulationResult(
        seed=world.seed,
        options=options,
        violations=tuple(found),
        virtual_s=world.loop.time(),
        steps=world.loop.steps,
        faults=history.fired,
        trace=world.trace.digest(),
        figures={name: workload.figures(history) for name, workload in workloads.items()},
        marks=met,
        story=tuple(world.trace.story()),
        history=history,
    )
    world.loop.drop_everything()
    return result


def _judged(judge: Callable[[], Iterable[Violation]]) -> list[Violation]:
    """What a judge finds.  One that falls over an answer that no node may give has found something, too."""
    found: list[Violation] = []
    try:
        found.extend(judge())
    except Exception as error:  # noqa: BLE001 - it is of this seed, and other judges and seeds go on
        *_, last = traceback.extract_tb(error.__traceback__)
        place = f"{Path(last.filename).name}:{last.lineno}"
        story = f"what it was to judge ended it at {place}: {type(error).__name__}: {error}"
        found.append(Violation("judge", b"", story))
    return found


def _ended_by(error: BaseException) -> Violation:
    return Violation("run", b"", "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(error)))


async def _drive(world: World, workloads: Sequence[Workload]) -> list[Violation]:
    """Form, put under load and faults, heal, and read the final state.

    Returns what did not come to rest, and who is not seen up (C23); all other violations are found by
    checkers in the history.
    """
    await world.form()
    kinds = _kinds(world.options)
    faults = drawn_faults(world.seed, world.options)
    await _load_under_faults(world, workloads, faults, kinds)
    lost = lost_for_good(faults, kinds)
    if stream(world.seed, "core").random() < world.options.core:
        await _ask_healed_core(world, workloads, lost)
    world.trace.note("driver", "heals what can be healed")
    world.history.lost = lost
    await world.ground.heal(lost)
    within_s = world.options.quiet_s
    living = world.living()
    if not await _ends(world.all_serve(living), within_s):
        silent = ", ".join(node.name for node in living if not node.serves)
        return [Violation("C2", b"", f"{silent or 'nothing'} does not serve {within_s:.0f} s after healing")]
    for workload in workloads:  # one after the other, so each has that long
        if not await _ends(workload.wait_idle(), within_s):
            return _unrest_of(workload, within_s)
    for workload in workloads:
        if not await _ends(workload.read_final_state(), within_s):
            return _unrest_of(workload, within_s)
    return [Violation("C23", b"", story) for story in await world.all_seen_up(within_s)]


def _unrest_of(workload: Workload, within_s: float) -> list[Violation]:
    """Why the one that was waited for is not at rest; the others may well be."""
    restless = Violation("run", b"", f"not at rest {within_s:.0f} s after healing")
    return workload.unrest() or [restless]


async def _ends(work: Coroutine[Any, Any, object], within_s: float) -> bool:
    """Whether it ends in time.  A TimeoutError of its own is raised: nobody may let one out."""
    try:
        async with asyncio.timeout(within_s) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True


async def _ask_healed_core(world: World, workloads: Sequence[Workload], lost: Sequence[str]) -> None:
    """Heal as many nodes as quorums need, break the rest, and ask the core for progress (C17)."""
    draws, options, core_history = stream(world.seed, "core/rest"), world.options, world.history.core
    damaged = {
        *lost,
        *(name for name, node in world.nodes.items() if node.disk.is_rotten),
        *(
            name
            for name, node in world.nodes.items()
            if node.node and node.node.replica.engine.corrupt_ranges()
        ),
    }
    owners = [each for workload in workloads for each in workload.rests_on()]
    rest = draw_rest(draws, list(world.nodes), damaged, owners, max(options.w, options.r))
    if not rest:
        return
    world.trace.note("driver", f"heals all but {','.join(rest)}")
    world.ground.heal_core(rest)
    core_history.rest = break_rest(draws, world.ground, rest, damaged)
    core = [node for name, node in world.nodes.items() if name not in rest]

    async def serve() -> None:
        await world.all_serve(core)
        await world.all_take_writes(core)  # a clock that was set right, and room on a disk, are seen soon

    if not await _ends(serve(), _CORE_SERVES_S):
        core_history.not_serving = [node.name for node in core if not (node.serves and node.takes_writes)]
        return
    await asyncio.gather(*(workload.progress() for workload in workloads))


async def _load_under_faults(
    world: World, workloads: Sequence[Workload], faults: Sequence[Fault], kinds: Sequence[FaultKind]
) -> None:
    """Run the load and the faults until both are over, or until `longest_s` has passed."""
    work = [each for workload in workloads for each in workload.act()]
    known = {kind.name: kind for kind in kinds}

    async def work_off() -> None:
        everything = [*map(asyncio.ensure_future, (inject(faults, known, world.ground), *work))]
        try:
            await asyncio.gather(*everything)
        finally:
            for (
                one
            ) in everything:  # where one has failed, no fault strikes while the rest of a run is dropped
                one.cancel()

    if not await _ends(work_off(), world.options.longest_s):
        world.trace.note("driver", "ends the first phase before its work is done")


def _found_bugs(world: World) -> list[Violation]:
    """Errors that no code may raise: they make a run red whatever the checkers say."""
    stories = [f"{type(leaf).__name__}: {leaf}" for error in world.bugs() for leaf in _leaves(error)]
    stories += [
        f"unhandled: {context.get('exception') or context['message']}" for context in world.loop.unhandled()
    ]
    return [Violation("bug", b"", story) for story in stories]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines of simulated nodes, and no garbage collection in the middle of a run.

    At the end what killed and living processes left behind is collected; what their coroutines cry while
    dying means nothing.  A coroutine that is closed runs its last lines, and what they touch is kept by that
    collection: only one that finds nothing leaves nothing.
    """
    logging.disable(logging.CRITICAL)
    was_enabled, thresholds, former = gc.isenabled(), gc.get_threshold(), sys.unraisablehook
    gc.disable()
    gc.freeze()  # what is there already need not be looked at when the run's own garbage is collected
    try:
        yield
    finally:
        sys.unraisablehook = lambda _: None
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # tasks that never began
            while gc.collect():
                pass
        gc.unfreeze()
        sys.unraisablehook = former
        logging.disable(logging.NOTSET)
        gc.set_threshold(*thresholds)  # dropped tasks leave it as a kernel had set it
        if was_enabled:
            gc.enable()
