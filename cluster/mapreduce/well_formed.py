"""Checks the fields of messages, and turns any error while one is decoded into one refusal of the message.

An old, damaged or hostile peer may send any bytes, and so may user code in a task process.  A malformed
message is its sender's fault: it is refused by name with one line of log and no trace, and does not affect
the job that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ringmill.cluster.errors import ProtocolMismatch, RingmillError

__all__ = ["text", "well_formed", "whole_number"]


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Raises ProtocolMismatch for any error of a wrong shape, type or value that is raised within."""
    try:
        yield
    except RingmillError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise ProtocolMismatch(f"not {what}: {type(error).__name__}: {error!s:.200}") from error


def whole_number(value: object, *, least: int = 0, most: int = (1 << 63) - 1) -> int:
    """`value`, when it is an integer in these bounds.  Raises ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{_shown(value)} is no number from {least} to {most}")
    return value


def text(value: object) -> str:
    """`value`, when it is text.  Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is no text")
    return value


def _shown(value: object) -> str:
    """Only the type of what may be large, and costly to write out."""
    return f"{value!r:.40}" if isinstance(value, int | float | None) else type(value).__name__
