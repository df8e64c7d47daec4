"""A search for a run that a switched-off safeguard turns red, and what may count as red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.every import ablation_named

_TABLES = Path(__file__).resolve().parents[2] / "docs" / "testing.md"
_ERRORS = {"bug", "run", "judge"}
"""What a run shows whose own code fails, also the replacement of a safeguard."""


def turns_red(name: str, first: int, usual: SimulationOptions, most: int = 100) -> bool:
    """Whether a run without the safeguard breaks a promise, at one of `most` seeds from `first` on.

    An error in a run breaks none, unless the tables of docs/testing.md have it for this safeguard: a
    replacement that its code has outgrown would raise, and the safeguard would seem to be needed.
    """
    options = replace(ablation_named(name).under or usual, safeguards_off=(name,))
    for seed in range(first, first + most):
        if broken := run_seed(seed, options).violations:
            errors = _ERRORS & {found.property for found in broken}
            assert not errors or what_breaks(name) in _ERRORS, (seed, broken)
            return True
    return False


def what_breaks(name: str) -> str:
    """The property that the tables name for a safeguard."""
    rows = _TABLES.read_text(encoding="utf-8").splitlines()
    [row] = [row for row in rows if row.startswith(f"| `{name}` |") and row.count(" | ") >= 5]
    return row.strip("| ").split(" | ")[-1]
