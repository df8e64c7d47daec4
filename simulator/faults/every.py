"""All kinds of fault that any cluster can meet, whatever is asked of it."""

from __future__ import annotations

from typing import Final

from ringmill.simulator.faults import (
    clocks,
    crowds,
    disks,
    folders,
    links,
    processes,
    silence,
    splits,
)
from ringmill.simulator.faults.fault import FaultKind
from ringmill.simulator.faults.members import forged_claims, replacing

__all__ = ["GENERAL_KINDS"]

GENERAL_KINDS: Final[tuple[FaultKind, ...]] = (
    *processes.KINDS,
    *silence.KINDS,
    *clocks.KINDS,
    *splits.KINDS,
    *links.KINDS,
    *disks.KINDS,
    *folders.KINDS,
    *replacing.KINDS,
    *crowds.KINDS,
    *forged_claims.KINDS,
)
