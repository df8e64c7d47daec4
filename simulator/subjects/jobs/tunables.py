"""How patient the two sides of a job are in a run, drawn from its seed: mostly as in production, now and then
so little that a fault of some seconds outlasts it (FoundationDB calls this "buggify")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from ringmill.node.node_options import CoordinatorOptions, NodeOptions, WorkerOptions

__all__ = ["KEPT_JOBS", "JobTunables", "draw_job_tunables", "with_short_tasks"]

_SMALL_CHANCE: Final = 0.25
_SHORT_JOURNAL: Final = 3
_FORGETS_CHANCE: Final = 0.15
KEPT_JOBS: Final = 3
"""Where jobs are forgotten: as many as there are before the end of a run, where further ones follow."""
_LOOK_EVERY_S: Final = 2.0
_ANY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class JobTunables:
    """Times in seconds.  A coordinator waits longer than a worker, as in production."""

    orphan_after_s: float  # a worker drops a job after this silence of its coordinator
    silent_after_s: float  # a coordinator gives up a worker that answers no poll for this long
    snapshot_every: int = CoordinatorOptions().snapshot_every
    forgets: bool = False  # what few jobs leave behind is removed soon

    def tuned(self, node: NodeOptions) -> NodeOptions:
        """The options of a node with this patience."""
        worker = replace(node.worker, orphan_after_s=self.orphan_after_s)
        coordinator = replace(
            node.coordinator, silent_after_s=self.silent_after_s, snapshot_every=self.snapshot_every
        )
        if not self.forgets:
            return replace(node, worker=worker, coordinator=coordinator)
        coordinator = replace(coordinator, kept_jobs=KEPT_JOBS)
        purge = replace(node.purge, journals_every_s=_LOOK_EVERY_S)
        return replace(node, worker=worker, coordinator=coordinator, purge=purge)


def with_short_tasks(node: NodeOptions) -> NodeOptions:
    """Whatever tasks take, they count as short: they are ordered ahead, and run in stints."""
    coordinator = replace(node.coordinator, ahead_s=_ANY_S, ahead_longest_s=_ANY_S)
    return replace(node, worker=replace(node.worker, stint_s=_ANY_S), coordinator=coordinator)


def draw_job_tunables(draws: Random) -> JobTunables:
    is_small = draws.random() < _SMALL_CHANCE
    orphan_after_s, times = draws.choice((2.5, 4.0)), draws.choice((4 / 3, 3.0))
    forgets = draws.random() < _FORGETS_CHANCE
    if not is_small:
        usual = WorkerOptions().orphan_after_s, CoordinatorOptions().silent_after_s
        return JobTunables(*usual, forgets=forgets)
    return JobTunables(orphan_after_s, orphan_after_s * times, _SHORT_JOURNAL, forgets)
