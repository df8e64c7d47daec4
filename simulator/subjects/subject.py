"""A subject: a kind of work for a cluster, the faults that affect it, and its checkers.

A subject is one package: its workload, its own kinds of fault, its checkers, the ablations of the safeguards
that it relies on, and its tunables.  A run has one or several of them at once (simulator/subjects/every.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.faults.fault import FaultKind
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.world import World

__all__ = ["Figures", "Subject", "Workload"]

Figures = Mapping[str, int]
"""What a subject counted in a run; campaigns add them up."""


class Workload(Protocol):
    """What one run asks for: drawn, and then carried out in this order."""

    @property
    def pieces(self) -> Sequence[int]:
        """Indexes of what can be left out of it, one by one, when a failing run is made shorter."""
        ...

    def plan(self) -> list[str]:
        """What will be asked for, a line each."""
        ...

    def join(self, world: World) -> None:
        """Take a place in a world that is not formed yet."""
        ...

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Everything that is asked for, to be run at once, under faults."""
        ...

    def rests_on(self) -> Sequence[Collection[str]]:
        """The owners of each key that it asks for: a healed core has to have enough of them."""
        ...

    async def progress(self) -> None:
        """In some runs: a core of the nodes is healed and the rest is not.  Ask for what must be done."""
        ...

    async def wait_idle(self) -> None:
        """All is healed: wait until nothing is under way any more."""
        ...

    async def read_final_state(self) -> None:
        """All subjects have come to rest: read all that checkers need."""
        ...

    def unrest(self) -> list[Violation]:
        """What did not settle in time."""
        ...

    def close(self) -> None:
        """The run is over, however it went: note what is left to be noted."""
        ...

    def check(self, history: History) -> list[Violation]: ...

    def figures(self, history: History) -> Figures: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """It is judged under all general kinds of fault and under its own `faults`."""

    name: str
    title: str  # of its table of safeguards
    draw: Callable[[int, SimulationOptions], Workload]
    describe: Callable[[Figures], str]  # what was tried, in words
    fields: Callable[[Figures], Mapping[str, Any]]  # what was tried, as fields of a document
    ablations: tuple[Ablation, ...]
    marks: tuple[str, ...]  # in product code, that its runs have to meet now and then
    faults: tuple[FaultKind, ...] = ()  # that only it feels
    keyspaces: Callable[[int], Sequence[KeyspaceEntry]] = lambda n: ()  # that it needs, with `n` replicas
    tuned: Callable[[int, Tunables], Tunables] = lambda seed, tunables: tunables
