"""How far an attempt is: told by the task at work, looked at by whoever runs it.

Nothing is pushed: a kernel would report too rarely from slow code, and too often from fast.  Whoever runs a
task makes a Progress, hands it in and looks at it when it likes, also from another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["AttemptProgress", "Progress"]


@dataclass(frozen=True, slots=True)
class AttemptProgress:
    """Of the bytes that an attempt will read."""

    bytes_done: int = 0
    bytes_total: int = 0
    status: str = ""  # what the job's code said last
    position: str = ""  # the record or group handed to it last

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order."""
        return [self.bytes_done, self.bytes_total, self.status, self.position]

    @classmethod
    def from_wire(cls, said: Any) -> AttemptProgress:
        """A task process's word, which user code may have forged.  Raises ValueError for a wrong shape."""
        match said:
            case [int(done), int(total), str(status), str(position)]:
                return cls(done, total, status, position)
            case _:
                raise ValueError(f"no progress: {said!r:.80}")


class Progress:
    """Of one attempt."""

    def __init__(self) -> None:
        self._look: Callable[[], AttemptProgress] = AttemptProgress

    def follow(self, look: Callable[[], AttemptProgress]) -> None:
        """From now on `look` tells; it may be called from any thread."""
        self._look = look

    def now(self) -> AttemptProgress:
        return self._look()
