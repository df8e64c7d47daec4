"""What Python takes at most within a block of a test, for tests of bounds."""

from __future__ import annotations

import tracemalloc
from types import TracebackType

__all__ = ["TracedMemory"]


class TracedMemory:
    """`peak_bytes` is what was held at most, beyond what was held when the block began."""

    def __init__(self) -> None:
        self.peak_bytes = 0

    def __enter__(self) -> TracedMemory:
        tracemalloc.start(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _, self.peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
