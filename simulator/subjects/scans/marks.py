"""What runs of scans have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["SCAN_MARKS"]

SCAN_MARKS: Final = (
    "a page of an owner ends inside a partition that is scanned",
    "a scan replaces a silent owner",
    "an owner cannot tell of a range that is scanned",
    "a scan does not meet its quorum",
)
