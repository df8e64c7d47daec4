"""Marks in the product's code: branches that simulated runs must reach sometimes.

    if repair.is_late:
        sometimes("a repair comes late")

A rare branch that no run reaches is untested, and nobody would notice.  The catalogue of marks is the
simulator's (ringmill simulate --marks), which fails when one was never met.  In production there is no
listener: a mark then costs a call and the read of a variable, so it may be anywhere except in a loop over
bytes.

A name is a sentence that says what happens.  It is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["heard_by", "sometimes"]

_listener: Callable[[str], object] | None = None


def sometimes(mark: str) -> None:
    """Mark a branch that must be reached in some simulated run."""
    if _listener is not None:
        _listener(mark)


@contextmanager
def heard_by(listener: Callable[[str], object]) -> Iterator[None]:
    """Inside this block `listener` is called with every mark that is met in this process."""
    global _listener  # noqa: PLW0603 - one for the process: a mark has no other way to whoever listens
    former, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = former
