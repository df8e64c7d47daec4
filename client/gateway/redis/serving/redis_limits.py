"""What one connection may have, and how many there may be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RedisLimits"]


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """Times are in seconds, sizes in bytes."""

    most_connections: int = 1000
    most_gone: int = 10_000
    """Connections that have gone, and of which commands are under way; above it those of the first are
    dropped."""
    most_under_way: int = 1024
    """Commands of one connection that are not answered yet; it is read no further meanwhile."""
    most_begun_bytes: int = 16 * 1024 * 1024
    """Bytes of commands of one connection that are not answered yet; it is read no further meanwhile."""
    most_keys: int = 10_000
    """The most keys of one command: to begin with more at once would hold up all other callers."""
    most_answer_bytes: int = 16 * 1024 * 1024
    """The most bytes of the answer of one command; above it an error is sent in the place of the answer."""
    most_unread_bytes: int = 32 * 1024 * 1024
    """Answers of one connection that wait to be sent.  One that has no room is left out, and an error is sent
    in its place."""
    most_held_bytes: int = 256 * 1024 * 1024
    """Bytes of all connections, with commands that have not come whole; above it the largest is closed."""
    spare_s: float = 10.0
    """When there are too many, one that has nothing under way, and was silent for so long, makes room."""
    idle_s: float = 3600.0
    """A connection that sends no command for this long is closed."""
    command_s: float = 30.0
    """A command of which a part has come, and its end not after this time, ends the connection."""
    unread_s: float = 60.0
    """A caller that takes no answer for this long is closed."""
