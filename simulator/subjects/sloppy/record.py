"""The record of what a run asked of a sloppy keyspace, which its checkers read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ringmill.client.values import ReplicaAck

__all__ = ["SloppyCall", "SloppyKind"]

SloppyKind = Literal["put", "replace", "get"]


@dataclass(slots=True)
class SloppyCall:
    """One call of one client.  A put adds a sibling; a `replace` puts one in the place of what a read before
    it has shown, `replaces`.

    No other call of the run has its `value`.  `returned` is in seconds of true time, None while no answer
    came.
    """

    session: str
    kind: SloppyKind
    key: bytes
    value: bytes
    invoked: float
    returned: float | None = None
    outcome: Literal["ok", "failed", "unknown"] = "unknown"
    replaces: frozenset[bytes] = frozenset()
    shown: tuple[bytes, ...] = ()
    dot: str = ""
    epoch: int = 0  # of the topology under which the write was acknowledged
    w: int = 0
    replicas: tuple[ReplicaAck, ...] = ()
    weak: bool = False
    error: str = ""
    is_of_core: bool = False  # asked of a healed core, which owes an answer
    timeout_s: float | None = None  # how long its client waits at most; None: nobody judges that
    given_up: float | None = None  # when its driver has stopped to wait for it

    @property
    def is_acked(self) -> bool:
        return self.kind != "get" and self.outcome == "ok"
