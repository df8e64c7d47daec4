"""What runs of sloppy keyspaces have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["SLOPPY_MARKS"]

SLOPPY_MARKS: Final = (
    "a fallback stands in for an owner",
    "a fallback does not take a hint",
    "a hint that was to count is refused",
    "a read asks a fallback",
)
