"""What runs of registers have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["REGISTER_MARKS"]

REGISTER_MARKS: Final = (
    "a read of a register has to finish a change",
    "a round of a register is preempted",
    "a round of a register goes on without a majority while owners are not seen down",
    "a change of a register is found to be done",
    "nobody can tell whether a change of a register was done",
    "damaged registers are healed from other owners",
    "a register that no other owner knows has survived damage",
    "registers without a value are removed",
    "an owner has missed the delete of a register",
    "an owner that is away holds back the removal of registers",
    "a damaged owner takes no part in a removal of registers",
)
