"""Marks in the product's code: branches that simulated runs have to reach now and then.

    if repair.is_late:
        sometimes("a repair comes late")

A rare branch that no run reaches is tested by nobody, and nobody notices.  The catalogue of marks is the
simulator's (ringmill simulate --marks), which fails when one was never met.  In production nobody listens: a
mark then costs a call and one look at a variable, so it may stand anywhere but in a loop over bytes.

A name is a sentence that says what happens.  It is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["heard_by", "sometimes"]

_listener: Callable[[str], object] | None = None


def sometimes(mark: str) -> None:
    """This happens now and then."""
    if _listener is not None:
        _listener(mark)


@contextmanager
def heard_by(listener: Callable[[str], object]) -> Iterator[None]:
    """While inside, `listener` is told of every mark that is met in this process."""
    global _listener  # noqa: PLW0603 - one for the process: a mark has no other way to whoever listens
    former, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = former
