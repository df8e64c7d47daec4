"""Calls, counted by how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

__all__ = ["counted"]


class Ended(Protocol):
    @property
    def outcome(self) -> str: ...


def counted(calls: Iterable[Ended]) -> Mapping[str, int]:
    """By outcome, in the order of the alphabet."""
    return dict(sorted(Counter(call.outcome for call in calls).items()))
