"""What has expired is removed as it was seen (rule R7), and counted: by a command that meets it, a scan, or a
sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.errors import Conflict

__all__ = ["ExpiryFigures", "remove_expired"]


@dataclass(slots=True)
class ExpiryFigures:
    """What this gateway has done about expired keys since its start, for INFO."""

    expired_keys: int = 0
    """Removed, or written over."""
    swept_keys: int = 0
    """Looked at by sweeps."""
    swept_databases: int = 0
    """That this gateway sweeps now."""
    sweep_failures: int = 0
    last_round_s: float = 0.0
    """How long the last whole round over a database took."""
    last_round_ended: float = 0.0
    """By the wall clock; 0 before there was one."""


async def remove_expired(
    registers: AsyncRegisters, name: bytes, version: int, figures: ExpiryFigures, timeout_s: float
) -> bool:
    """Remove what was seen in this version and has expired; False when somebody has changed it since.

    Raises RingmillError when it may still be there.
    """
    try:
        await registers.cas(name, None, expect_version=version, timeout=timeout_s)
    except Conflict:
        return False
    figures.expired_keys += 1
    return True
