"""Turns what goes wrong while a message is taken apart into one refusal of the message.

Peers send bytes; an old, damaged or hostile one sends any bytes.  A message that is none is its sender's
fault: it is refused by name, costs one line and never a trace, and says nothing about the job it names.
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
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise ProtocolMismatch(f"not {what}: {type(error).__name__}: {error!s:.200}") from error


def whole_number(value: object, *, least: int = 0, most: int = (1 << 63) - 1) -> int:
    """`value`, when it is an integer in these bounds.  Raises ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is no number from {least} to {most}")
    return value


def text(value: object) -> str:
    """`value`, when it is text.  Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value
