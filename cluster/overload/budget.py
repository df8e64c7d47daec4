"""Bounds what is sent again: of a request by a number, of all requests together by a share of them.

A "retry" is sent again because nothing was done, a "further" attempt because the node fell silent or the
connection broke (client/routing/retries.py, node/requests/forward.py).  Rules W4 and O6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["FURTHER_SAVED", "MAX_FURTHER", "Budget"]

MAX_FURTHER: Final = 2
"""Further attempts of a request."""
FURTHER_SAVED: Final = 1000.0
"""Room for all that may be under way at a node when it stops."""


@dataclass(slots=True)
class Budget:
    """Limits what is sent again to a share of requests: each request earns `share`, each that is sent again
    costs 1, at most `limit` is saved, which is also what there is at first."""

    share: float = 0.1
    limit: float = 10.0
    saved: float = field(init=False)

    def __post_init__(self) -> None:
        self.saved = self.limit

    def earn(self) -> None:
        if self.saved < self.limit:
            self.saved = min(self.limit, self.saved + self.share)

    def spend(self) -> bool:
        """Take one retry, if there is one."""
        if self.saved < 1.0:
            return False
        self.saved -= 1.0
        return True
