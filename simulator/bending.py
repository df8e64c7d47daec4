"""How a safeguard is switched off: attributes of production code bent from outside, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ringmill.simulator.options import RunOptions

__all__ = ["Ablation", "bent"]

Off = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Ablation:
    """`name` is what RunOptions.safeguards_off and the table say; `rule` is the safeguard in words.

    `under` are the options of the runs that look for it, when those of any run meet it too seldom.
    """

    name: str
    rule: str
    off: Off
    under: RunOptions | None = None


@contextmanager
def bent(*bends: tuple[object, str, object]) -> Iterator[None]:
    """Attributes of modules and classes replaced while inside."""
    former = [(owner, name, getattr(owner, name)) for owner, name, _ in bends]
    for owner, name, value in bends:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, original in former:
            setattr(owner, name, original)
