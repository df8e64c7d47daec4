"""A limit of calls a minute for each user, counted exactly by all servers together.

A window is a register that `incr` counts on.  An incr is applied once even if it had to be sent again, so
nobody is charged twice.  Old windows stay behind as a few bytes each.
"""

import time

from ringmill import Client


def allow(db: Client, user: str, limit: int, window_s: int = 60, now: float | None = None) -> bool:
    """Whether the user may make one more call in this window."""
    window = int((time.time() if now is None else now) // window_s)
    return db.registers.incr(f"rate:{user}:{window}") <= limit
