"""The kinds of plan that an operator of a run may make, and how often a node that comes or goes is killed."""

from __future__ import annotations

from typing import Final

__all__ = ["KILLED", "KINDS", "is_killed_at", "kind_at"]

KINDS: Final = ("turn", "turn", "add", "add", "remove", "give_up")
"""Partitions draw new owners, a node comes, one that came leaves, or is given up though it may be alive."""

KILLED: Final = 0.4


def kind_at(share: float) -> str:
    """That of a number from 0 to 1, drawn before a run may have other kinds."""
    return KINDS[int(share * len(KINDS))]


def is_killed_at(share: float) -> bool:
    """Whether the node of such a number is killed."""
    return share < KILLED
