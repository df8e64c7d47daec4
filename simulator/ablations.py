"""Switches off one safeguard at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["switched_off"]


@contextmanager
def switched_off(names: Sequence[str]) -> Iterator[None]:
    yield
