"""The record of what a run asked of registers, which the checker reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ringmill.client.checked.timed_calls import TimedCall

__all__ = ["RegisterCall", "RegisterKind"]

RegisterKind = Literal["get", "cas", "incr"]


@dataclass(slots=True)
class RegisterCall(TimedCall):
    """One call of one client.  Times are seconds of one monotonic clock of whoever drove the run;
    `returned` is None while no answer came.

    `conflict`: the condition was false; then version and shown are what the answer told.  `shown` is the
    value that was read, set, or counted to.
    """

    session: str
    kind: RegisterKind
    key: bytes
    invoked: float
    value: bytes | None = None  # of a cas; None deletes
    by: int = 0
    expect: bytes | None = None
    expect_version: int | None = None
    returned: float | None = None
    outcome: Literal["ok", "conflict", "failed", "unknown"] = "unknown"
    version: int = 0
    shown: bytes | None = None
    error: str = ""
    is_of_core: bool = False  # asked of a healed core, which owes an answer
    timeout_s: float | None = None  # how long its client waits at most; None: nobody judges that
    given_up: float | None = None  # when its driver has stopped to wait for it

    @property
    def ended(self) -> float:
        """When it was answered; never, while no answer came."""
        return math.inf if self.returned is None else self.returned

    @property
    def is_change(self) -> bool:
        return self.kind != "get"
