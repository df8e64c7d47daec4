"""The record of what a run scanned, and of the writes that its scans have to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ScanRecord", "ScannedItem"]


@dataclass(frozen=True, slots=True)
class ScannedItem:
    """A key as a scan showed it: values by dot, and the context that came with them."""

    key: bytes
    values: Mapping[str, bytes]
    seen: Mapping[str, int]


@dataclass(slots=True)
class ScanRecord:
    """One scan of one client, all its pages.  Times as in `Operation` (simulator/history.py)."""

    session: str
    prefix: bytes
    invoked: float
    returned: float | None = None  # of the last page
    is_complete: bool = False
    is_of_core: bool = False  # asked of a healed core, which owes an answer
    is_last: bool = False  # asked when all was healed, which owes one, too
    items: list[ScannedItem] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # of pages that were asked for again
