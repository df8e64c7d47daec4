"""Makes Python look for reference cycles less often while a task runs.

A task holds hundreds of thousands of small lists that are not garbage, and at its usual rate the collector
walks all of them again and again, which cost half of the time of a word count.  It is slowed down and not
turned off, so that cycles made by job code are still collected.
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
    """Collect rarely within the block, at the previous rate after it."""
    former = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, YOUNG_PER_OLDER, YOUNG_PER_OLDER)
    try:
        yield
    finally:
        gc.set_threshold(*former)
