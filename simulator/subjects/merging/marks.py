"""What runs of counters, sets and maps have to meet now and then: marks in product code
(cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["MERGING_MARKS"]

MERGING_MARKS: Final = (
    "several nodes have counted in one counter",
    "an addition is not sent again",
)
