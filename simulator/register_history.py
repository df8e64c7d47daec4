"""The record of who believed to hold a lease, which the checker reads."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Holding"]


@dataclass(slots=True)
class Holding:
    """A client believed that it held a lease, from its acquisition until `until`, in seconds of true time."""

    session: str
    lease: str
    term: int
    since: float
    until: float
