"""Requests on registers and their results as the coordinator sees them: plain values."""

from __future__ import annotations

from typing import NamedTuple

from ringmill.cluster.consensus.register import Change
from ringmill.cluster.ids import Epoch
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId

__all__ = ["ChangeRequest", "RegisterRead", "RegisterResult"]


class RegisterRead(NamedTuple):
    """`epoch` is the topology by which the client routed, 0 when it knows none; `left_s` how long its caller
    still waits in seconds, None if unknown."""

    keyspace: str
    key: bytes
    timeout_s: float = 0.0
    epoch: Epoch = Epoch(0)
    left_s: float | None = None


class ChangeRequest(NamedTuple):
    """`attempt` counts the earlier sendings of the operation that may have been done.

    `operation` is None for a client that never sends a change again.
    """

    where: RegisterRead
    change: Change
    operation: OperationId | None
    attempt: int = 0


class RegisterResult(NamedTuple):
    """`version` is the one read, or made; `number` what an incr led to."""

    version: int
    value: bytes | None
    epoch: Epoch
    time: HybridTime
    number: int | None = None
