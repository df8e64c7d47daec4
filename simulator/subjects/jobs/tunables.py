"""How patient the two sides of a job are in a run, drawn from its seed: mostly as in production, now and then
so little that a fault of some seconds outlasts it (FoundationDB calls this "buggify")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from ringmill.node.node_options import CoordinatorOptions, NodeOptions, WorkerOptions

__all__ = ["JobTunables", "draw_job_tunables"]

_SMALL_CHANCE: Final = 0.25
_SHORT_JOURNAL: Final = 3


@dataclass(frozen=True, slots=True)
class JobTunables:
    """Times in seconds.  A coordinator waits longer than a worker, as in production."""

    orphan_after_s: float  # a worker drops a job after this silence of its coordinator
    silent_after_s: float  # a coordinator gives up a worker that answers no poll for this long
    snapshot_every: int = CoordinatorOptions().snapshot_every

    def tuned(self, node: NodeOptions) -> NodeOptions:
        """The options of a node with this patience."""
        worker = replace(node.worker, orphan_after_s=self.orphan_after_s)
        coordinator = replace(
            node.coordinator, silent_after_s=self.silent_after_s, snapshot_every=self.snapshot_every
        )
        return replace(node, worker=worker, coordinator=coordinator)


def draw_job_tunables(draws: Random) -> JobTunables:
    is_small = draws.random() < _SMALL_CHANCE
    orphan_after_s, times = draws.choice((2.5, 4.0)), draws.choice((4 / 3, 3.0))
    if not is_small:
        return JobTunables(WorkerOptions().orphan_after_s, CoordinatorOptions().silent_after_s)
    return JobTunables(orphan_after_s, orphan_after_s * times, _SHORT_JOURNAL)
