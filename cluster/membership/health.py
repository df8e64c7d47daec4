"""The health of this node itself: a slow node must not suspect others too early (Lifeguard, section 4.1).

A score from 0 (well) upward.  It stretches this node's probe interval and timeout, and rises with what
speaks against this node itself (rule O1): its event loop ran late, a helper that should have
answered at least "I cannot reach it either" said nothing, or others suspected it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LocalHealth"]


@dataclass(slots=True)
class LocalHealth:
    ceiling: int
    score: int = 0

    @property
    def stretch(self) -> int:
        """Factor for interval and timeout, at least 1."""
        return self.score + 1

    def worse(self, by: int = 1) -> None:
        self.score = min(self.ceiling, self.score + by)

    def better(self) -> None:
        self.score = max(0, self.score - 1)
