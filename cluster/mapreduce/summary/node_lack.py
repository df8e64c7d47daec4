"""A node that offers no slots to jobs now, and why."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NodeLack"]


class NodeLack(NamedTuple):
    node: str
    why: str  # a part of a sentence: "its machine has ..."
