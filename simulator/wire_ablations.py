"""Safeguards of time and of hostile messages on the request path, switched off one at a time.

Tables and rules as in simulator/ablations.py.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

import simulator.transport
from cluster.versions.hybrid_time import HybridClock
from simulator.bending import Ablation, bent
from simulator.options import RunOptions

__all__ = ["WIRE_ABLATIONS"]


def _judged_from_sending() -> AbstractContextManager[None]:
    """A deadline counts from the moment a frame is read."""

    def judge(remaining_us: int, sent_us: int | None, now_us: int) -> int:
        return remaining_us

    return bent((simulator.transport, "left_us", judge))


def _clocks_compared() -> AbstractContextManager[None]:
    """After a jump of its wall clock a node believes nobody, as if it were always alone with it."""
    return bent((HybridClock, "accept_jump", lambda clock: None))


_STEPS: Final = RunOptions(faults=("host_clock_step",))
_LATE_SOCKETS: Final = RunOptions(keys=2, operations=200, faults=("pause", "late_socket"))

WIRE_ABLATIONS: Final = (
    Ablation(
        "judged-from-sending",
        "a deadline counts from the sending of a request, not from its reading",
        _judged_from_sending,
        _LATE_SOCKETS,
    ),
    Ablation(
        "clocks-compared", "a node whose clock stepped as the others' did goes on", _clocks_compared, _STEPS
    ),
)
