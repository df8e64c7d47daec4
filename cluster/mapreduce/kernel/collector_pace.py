"""How often Python looks for reference cycles while a task runs.

A task holds hundreds of thousands of small lists that are no garbage, and the collector's usual pace walks
all of them again and again: it cost half of a word count.  So it is slowed down, not turned off: job code
that makes cycles is still cleaned up after.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["rare_collections"]

NEW_OBJECTS: Final = 200_000
YOUNG_PER_OLDER: Final = 20


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely within the block, at the former pace after it."""
    former = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, YOUNG_PER_OLDER, YOUNG_PER_OLDER)
    try:
        yield
    finally:
        gc.set_threshold(*former)
