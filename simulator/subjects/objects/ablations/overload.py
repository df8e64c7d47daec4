"""Safeguards of a node that has more to do than it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import Arrival, BatchHandler
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, method

__all__ = ["OVERLOAD"]


class _Unheard:
    """A call whose client was told already: what comes of it is heard by nobody."""

    span = None

    def __init__(self, arrival: Arrival) -> None:
        self.sender, self.method = arrival.sender, arrival.method
        self.body, self.deadline = arrival.body, arrival.deadline
        self.on_end: Callable[[Arrival], None] | None = None

    def answer(self, body: bytes) -> None:
        return

    def fail(self, error: Exception) -> None:
        return

    def answer_later(self, result: Any) -> None:
        result.close()


def _refused_undone() -> Patches:
    refuse = Gate._refuse

    def refuse_and_do(gate: Gate, handler: BatchHandler, arrival: Arrival, cost: int) -> None:
        refuse(gate, handler, arrival, cost)
        handler([_Unheard(arrival)])

    return (method(Gate._refuse, refuse_and_do),)


_CROWDED: Final = SimulationOptions(nodes=3, keys=2, sessions=48, operations=400, mix=(), faults=("crowd",))

OVERLOAD: Final = (
    Ablation(
        "refused-undone",
        "what is refused for want of room has not been done",
        _refused_undone(),
        _CROWDED,
        rules=("O3",),
    ),
)
