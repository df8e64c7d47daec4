"""The record of what a run asked of counters, sets and maps, which the checker reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ringmill.client.checked.timed_calls import TimedCall

__all__ = ["MergingCall", "MergingKind"]

MergingKind = Literal["count", "put", "remove", "get"]


@dataclass(slots=True)
class MergingCall(TimedCall):
    """One call of one client.  Times are seconds of one monotonic clock of whoever drove the run;
    `returned` is None while no answer came.

    `policy` says of what: of a counter, the amount is counted and `shown` is its count under the name b"";
    of a set, `shown` has a value b"" for each element.
    """

    session: str
    policy: str
    kind: MergingKind
    key: bytes
    invoked: float
    entry: bytes = b""
    value: bytes = b""
    amount: int = 0
    returned: float | None = None
    outcome: Literal["ok", "failed", "unknown"] = "unknown"
    shown: Mapping[bytes, bytes] = field(default_factory=dict)
    count: int = 0
    error: str = ""
    is_of_core: bool = False  # asked of a healed core, which owes an answer
    timeout_s: float | None = None  # how long its client waits at most; None: nobody judges that
    given_up: float | None = None  # when its driver has stopped to wait for it

    @property
    def ended(self) -> float:
        """When it was over; never, for a change that may still take effect."""
        return math.inf if self.returned is None or self.outcome == "unknown" else self.returned
