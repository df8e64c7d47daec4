"""What one connection may have, and how many there may be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RedisLimits"]


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """Times are in seconds, sizes in bytes."""

    most_connections: int = 1000
    most_under_way: int = 1024
    """Commands of one connection that are not answered yet; it is read no further meanwhile."""
    most_unread_bytes: int = 32 * 1024 * 1024
    """Answers that a caller does not take; then its connection is closed."""
    idle_s: float = 3600.0
    """A connection that sends no command for this long is closed."""
    command_s: float = 30.0
    """A command of which a part has come, and its end not after this time, ends the connection."""
    unread_s: float = 60.0
    """A caller that takes no answer for this long is closed."""
