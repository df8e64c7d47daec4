"""What a client may be allowed to do: four roles, each of which includes those before it."""

from __future__ import annotations

from typing import Final

__all__ = ["ADMIN", "JOBS", "NOBODY", "READ", "ROLES", "WRITE", "includes"]

NOBODY: Final = ""  # as the role that a method needs: whoever can connect may ask it
READ: Final = "read"
WRITE: Final = "write"
JOBS: Final = "jobs"
ADMIN: Final = "admin"
ROLES: Final = (READ, WRITE, JOBS, ADMIN)

_RANK: Final = {NOBODY: 0, **{role: rank for rank, role in enumerate(ROLES, 1)}}


def includes(given: str, needed: str) -> bool:
    """Whether a client with the role `given` may do what needs the role `needed`."""
    return _RANK[given] >= _RANK[needed]
