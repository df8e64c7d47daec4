"""A violation, as a checker reports it: the property, the key, and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    property: str  # C1 to C25, bug, run, or judge
    key: bytes
    story: str
    operations: tuple[int, ...] = ()  # indexes in the history

    def __str__(self) -> str:
        where = f" (operations {', '.join(map(str, self.operations))})" if self.operations else ""
        return f"{self.property} key {self.key!r}: {self.story}{where}"
