"""What calls of registers share with those of counters, sets and maps: which was over when one was asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["TimedCall"]


class TimedCall(ABC):
    """A call of one client.  A kind of call has the fields, and says when one has ended."""

    __slots__ = ()

    session: str
    invoked: float

    @property
    @abstractmethod
    def ended(self) -> float:
        """When it was over; `math.inf` while it is not."""

    def was_over(self, other: Self) -> bool:
        """Whether it was over when the other was asked: a session without a pause asks at the very time at
        which it was answered."""
        is_same = self.session == other.session and self.invoked < other.invoked
        return self.ended < other.invoked or (is_same and self.ended == other.invoked)
