"""What runs of watches have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["WATCH_MARKS"]

WATCH_MARKS: Final = (
    "a watch is woken by a change",
    "a watch goes on at another node",
    "a watch of a prefix looks at all its keys again",
)
