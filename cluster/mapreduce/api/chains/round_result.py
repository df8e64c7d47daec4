"""What a round of an iteration has given, for the function that says whether it was the last one.

Pure: the records are read by whoever makes the result.

See: docs/guide.md, "Pipelines and iterations".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["RoundResult", "Until"]


@dataclass(frozen=True, slots=True)
class RoundResult:
    """A round that is over: its number, from 1, what it has counted, and the parameters of its job."""

    number: int
    counters: Mapping[str, int]
    params: Mapping[str, str] = field(default_factory=dict)
    _read: Callable[[], Iterator[tuple[Any, Any]]] = field(default=lambda: iter(()), repr=False)

    def records(self) -> Iterator[tuple[Any, Any]]:
        """Key and value of each record of the round, in the order of its parts; a block is in memory at a
        time."""
        return self._read()


Until: TypeAlias = Callable[[RoundResult], bool]
"""Whether a round was the last one."""
