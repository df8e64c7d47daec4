"""What runs of sessions have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["SESSION_MARKS"]

SESSION_MARKS: Final = (
    "a read asks on for what its session has seen",
    "a read fails as nobody shows what its session has seen",
    "a coordinator catches up with the session of a write",
)
