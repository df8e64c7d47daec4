"""A second copy of control state that lives as long as its test."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ControlInMemory"]


class ControlInMemory:
    def __init__(self) -> None:
        self.values: dict[str, bytes] | None = None

    def read(self) -> dict[str, bytes] | None:
        return self.values

    def holds(self, values: Mapping[str, bytes]) -> bool:
        return self.values == dict(values)

    async def write(self, values: Mapping[str, bytes]) -> None:
        self.values = dict(values)
