"""What any simulated run comes to, whatever its clients ask for: a value.  Nothing runs here."""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.options import RunOptions

__all__ = ["Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`story` is empty unless it was asked for."""

    seed: int
    options: RunOptions
    violations: tuple[Violation, ...]
    virtual_s: float
    steps: int  # callbacks that ran
    faults: dict[str, int]  # by kind, how often each fired
    trace: str  # hash of everything that happened
    story: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        return not self.violations

    @property
    def verdict(self) -> str:
        return "ok" if self.is_ok else "violation"
