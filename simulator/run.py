"""One simulated run: a pair (seed, options) in, a verdict out.

Everything that a run draws comes from named streams of its seed, so the same pair gives the same run in any
process.  The story of one run: form a cluster, put it under load and faults, heal it, look at it.
"""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from ringmill.simulator.ablations import switched_off
from ringmill.simulator.checkers.every import check_all
from ringmill.simulator.checkers.staleness import staleness_s
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.faults import Fault, draw_faults, draw_rare_faults, lost_for_good
from ringmill.simulator.history import History, Operation
from ringmill.simulator.options import RunOptions
from ringmill.simulator.seeds import stream
from ringmill.simulator.tunables import draw_tunables
from ringmill.simulator.verdict import Verdict
from ringmill.simulator.workload import Wish, draw_workload, with_ttl
from ringmill.simulator.world import NotQuiet, World
from ringmill.simulator.world_loop import Stuck

__all__ = ["RunResult", "drawn_faults", "drawn_wishes", "found_bugs", "quiet", "run_seed"]

_MANY: Final = 8  # times as many keys, in some runs
_MANY_CHANCE: Final = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult(Verdict):
    """What came of a run of keys and values."""

    operations: int  # that clients asked for
    answered: int  # of these, with "ok"
    stale_s: tuple[float, ...] = ()  # C11: ages of weak reads that missed an acknowledged write
    history: History = field(default_factory=History)

    def without_history(self) -> RunResult:
        """The same figures without what takes memory: what crosses between processes of a campaign."""
        return replace(self, history=History(), story=())


def run_seed(
    seed: int, options: RunOptions, *, story: bool = False, watch: Callable[[int], None] | None = None
) -> RunResult:
    """Run one seed to its end, whatever comes of it.  `watch` is told how many operations have begun."""
    tunables = draw_tunables(stream(seed, "tunables"))
    with quiet(), switched_off(options.safeguards_off):
        return _run(_watched(World(seed, options, tunables, story=story), watch), seed, options)


def _watched(world: World, watch: Callable[[int], None] | None) -> World:
    """Nobody here keeps the world, so that `quiet` finds it when it collects what a run leaves behind."""
    if watch is not None:
        world.history.operations = _Watched(watch)
    return world


class _Watched(list[Operation]):
    """Tells its length whenever it grows."""

    def __init__(self, watch: Callable[[int], None]) -> None:
        super().__init__()
        self._watch = watch

    def append(self, operation: Operation, /) -> None:
        super().append(operation)
        self._watch(len(self))


def drawn_wishes(seed: int, options: RunOptions) -> list[Wish]:
    """The workload of a run, cut to what the options keep of it."""
    wishes = draw_workload(
        stream(seed, "workload"),
        operations=options.operations,
        sessions=options.sessions,
        keys=options.keys * (_MANY if stream(seed, "workload/many keys").random() < _MANY_CHANCE else 1),
    )
    wishes = with_ttl(stream(seed, "workload/ttl"), wishes)
    kept = options.only_operations
    return wishes if kept is None else [wish for wish in wishes if wish.index in kept]


def drawn_faults(seed: int, options: RunOptions) -> list[Fault]:
    """The faults of a run, cut to what the options keep of them."""
    names = [f"n{number + 1}" for number in range(options.nodes)]
    faults = draw_faults(stream(seed, "faults"), options.faults, names, options.load_s)
    rare = stream(seed, "faults/rare")
    faults += draw_rare_faults(rare, options.faults, names, options.load_s, faults)
    kept = options.only_faults
    return faults if kept is None else [fault for at, fault in enumerate(faults) if at in kept]


def _run(world: World, seed: int, options: RunOptions) -> RunResult:
    wishes = drawn_wishes(seed, options)
    found: list[Violation] = []
    try:
        world.loop.run_until_complete(_story(world, wishes, drawn_faults(seed, options)))
    except NotQuiet as error:
        found.append(Violation("C2", b"", str(error)))
    except (Stuck, Exception) as error:  # noqa: BLE001 - whatever ends a run is what the run shows
        found.append(Violation("run", b"", f"{type(error).__name__}: {error}"))
    found += found_bugs(world)
    result = _result(world, seed, options, found)
    world.loop.drop_everything()
    return result


async def _story(world: World, wishes: list[Wish], faults: list[Fault]) -> None:
    await world.form()
    await world.first_phase(wishes, faults)
    await world.second_phase(wishes, lost_for_good(faults))


def found_bugs(world: World) -> list[Violation]:
    """Errors that no code may raise: they make a run red whatever the checkers say."""
    told = [f"{type(leaf).__name__}: {leaf}" for error in world.bugs() for leaf in _leaves(error)]
    told += [
        f"unhandled: {context.get('exception') or context['message']}" for context in world.loop.unhandled()
    ]
    return [Violation("bug", b"", story) for story in told]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _result(world: World, seed: int, options: RunOptions, found: list[Violation]) -> RunResult:
    history = world.history
    history.faults = frozenset(world.trace.faults)
    return RunResult(
        seed=seed,
        options=options,
        violations=(*found, *check_all(history)),
        operations=len(history.operations),
        answered=sum(operation.is_ok for operation in history.operations),
        virtual_s=world.loop.time(),
        steps=world.loop.steps,
        faults=dict(sorted(world.trace.faults.items())),
        trace=world.trace.digest(),
        stale_s=tuple(staleness_s(history)),
        history=history,
        story=tuple(world.trace.story()),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines of simulated nodes, and no garbage collection in the middle of a run.

    At the end what killed and living processes left behind is collected; what their coroutines cry while
    dying means nothing.
    """
    logging.disable(logging.CRITICAL)
    was_enabled, former = gc.isenabled(), sys.unraisablehook
    gc.disable()
    gc.freeze()  # what is there already need not be looked at when the run's own garbage is collected
    try:
        yield
    finally:
        sys.unraisablehook = lambda _: None
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # tasks that never began
            gc.collect()
        gc.unfreeze()
        sys.unraisablehook = former
        logging.disable(logging.NOTSET)
        if was_enabled:
            gc.enable()
