"""The error tree, and the only table from an error to gRPC status, exit code, HTTP status and RESP prefix.

Raise the specific error where the fact is known; convert once, at a boundary: `to_wire` / `from_wire`
between processes, `grpc_status` at the public API, `exit_code` in the command line, `http_status` in the
gateway.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

__all__ = [
    "ClientClosed",
    "Conflict",
    "CorruptData",
    "DeadlineExceeded",
    "DiskFull",
    "InvalidArgument",
    "JobFailed",
    "JobKilled",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "ProtocolMismatch",
    "QuorumNotReached",
    "RingmillError",
    "Stale",
    "Unavailable",
    "UnresolvedSiblings",
    "WrongEpoch",
    "from_wire",
    "reason_of",
    "sound",
    "to_wire",
]


class RingmillError(Exception):
    """Base of every error a user can meet.

    `message` says what failed, with the numbers.  `detail` holds machine-readable facts (msgpack-able).
    `hint` says what to try.  `outcome` is "failed" only when certainly nothing happened, else "unknown".
    `was_told` is whether another process raised it and told this one.
    """

    code: ClassVar[str] = "INTERNAL"
    grpc_status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    redis_prefix: ClassVar[str] = "ERR"

    def __init__(
        self,
        message: str = "",
        *,
        detail: Mapping[str, Any] | None = None,
        hint: str = "",
        outcome: str = "failed",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail: dict[str, Any] = dict(detail or {})
        self.hint = hint
        self.outcome = outcome
        self.was_told = False

    def __str__(self) -> str:
        return self.message

    def with_outcome(self, outcome: str) -> Self:
        """A copy of this error with another outcome."""
        twin = copy.copy(self)
        twin.detail, twin.outcome = dict(self.detail), outcome
        return twin


class NotFound(RingmillError, KeyError):
    """The key, job or thing asked for does not exist."""

    code, grpc_status, exit_code = "NOT_FOUND", "NOT_FOUND", 3
    http_status = 404


class Conflict(RingmillError):
    """The condition of a compare-and-set was false.

    `detail["current"]` carries the present value, `detail["version"]` its version.
    """

    code, grpc_status, exit_code = "CONFLICT", "FAILED_PRECONDITION", 4
    http_status = 409


class UnresolvedSiblings(RingmillError):
    """A key holds several values where one was asked for; `detail["siblings"]` is their number."""

    code, grpc_status, exit_code = "UNRESOLVED_SIBLINGS", "FAILED_PRECONDITION", 1
    http_status = 409


class QuorumNotReached(RingmillError):
    """Fewer owners answered than the level needs."""

    code, grpc_status, exit_code = "QUORUM_NOT_REACHED", "UNAVAILABLE", 5
    http_status = 503
    redis_prefix = "NOQUORUM"

    @classmethod
    def of(
        cls,
        verb: str,
        need: int,
        acked: Sequence[str],
        failed: Mapping[str, str],
        *,
        outcome: str,
        hint: str = "see `ringmill cluster status`; a lower level (-w / -r) needs fewer owners",
        newer_epoch: int = 0,
        is_late: bool = False,
    ) -> QuorumNotReached:
        """The error of a `verb` ("put", "get"), from the owners that answered and the reasons of the
        others.  `newer_epoch`: some refused as they know this topology, so another attempt may do.
        `is_late`: the time of this attempt ended while others could still have answered."""
        who = ", ".join(f"{node}: {why}" for node, why in sorted(failed.items())) or "nobody refused"
        return cls(
            f"{verb} needs {need} owners, {len(acked)} answered ({', '.join(acked) or 'none'}); {who}",
            detail={
                "need": need,
                "acked": list(acked),
                "failed": dict(failed),
                **({"epoch": newer_epoch} if newer_epoch else {}),
                **({"late": True} if is_late else {}),
            },
            hint=hint,
            outcome=outcome,
        )

    @property
    def newer_epoch(self) -> int:
        """The epoch of the topology by which owners refused; 0 when none did."""
        return int(self.detail.get("epoch", 0))

    @property
    def is_late(self) -> bool:
        """Whether more time might have done."""
        return bool(self.detail.get("late", False))

    @property
    def need(self) -> int:
        return int(self.detail.get("need", 0))

    @property
    def acked(self) -> list[str]:
        return list(self.detail.get("acked", []))

    @property
    def failed(self) -> dict[str, str]:
        return dict(self.detail.get("failed", {}))


class Unavailable(RingmillError):
    """No endpoint, or not the needed one, can be reached.  `outcome` "failed" means that nothing happened."""

    code, grpc_status, exit_code = "UNAVAILABLE", "UNAVAILABLE", 6
    http_status = 503
    redis_prefix = "UNAVAILABLE"


class ClientClosed(Unavailable):
    """This client cannot be used: it was closed, or belongs to another event loop or process."""

    code, grpc_status, exit_code = "CLIENT_CLOSED", "UNAVAILABLE", 6
    http_status = 503


class DeadlineExceeded(RingmillError, TimeoutError):
    """Time ran out.  `outcome` says whether a write may have been done: "failed" when it came too late."""

    code, grpc_status, exit_code = "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 5
    http_status = 504
    redis_prefix = "TIMEOUT"

    @classmethod
    def on_arrival(cls, message: str) -> Self:
        """The error for a request that was late already when it came: nothing was done."""
        return cls(message, detail={"came": "late"}, outcome="failed")

    @property
    def came_late(self) -> bool:
        """Whether another process refused the request on arrival, and has not tried to the end."""
        return self.was_told and self.outcome == "failed" and self.detail.get("came") == "late"


class InvalidArgument(RingmillError, ValueError):
    """Bad input: the message names the field or the limit, and the size that was given."""

    code, grpc_status, exit_code = "INVALID_ARGUMENT", "INVALID_ARGUMENT", 2
    http_status = 400


class Overloaded(RingmillError):
    """Refused early, before any work; try again after `retry_after` seconds."""

    code, grpc_status, exit_code = "OVERLOADED", "RESOURCE_EXHAUSTED", 1
    http_status = 503
    redis_prefix = "TRYAGAIN"

    @property
    def retry_after(self) -> float:
        return float(self.detail.get("retry_after", 1.0))


class WrongEpoch(RingmillError):
    """The request was made under an older row of the topology; `detail["epoch"]` is the newest known."""

    code, grpc_status, exit_code = "WRONG_EPOCH", "FAILED_PRECONDITION", 1
    http_status = 503

    @staticmethod
    def epoch_of(error: BaseException) -> int:
        """The newest epoch that is known to whoever refused; 0 for another error."""
        return int(error.detail.get("epoch", 0)) if isinstance(error, WrongEpoch) else 0


class Stale(RingmillError):
    """A replica refuses a version that was deleted and forgotten (rule P3).  To try again is of no use."""

    code, grpc_status, exit_code = "STALE", "FAILED_PRECONDITION", 1
    http_status = 409


class CorruptData(RingmillError):
    """Stored bytes do not match their checksum: an error, never an absence."""

    code, grpc_status, exit_code = "CORRUPT_DATA", "DATA_LOSS", 1
    http_status = 500


class DiskFull(RingmillError):
    """The node is read-only until there is free space."""

    code, grpc_status, exit_code = "DISK_FULL", "RESOURCE_EXHAUSTED", 1
    http_status = 507
    redis_prefix = "MISCONF"


class PermissionDenied(RingmillError):
    """The caller may not ask this: its token is missing, wrong, over, or of a lesser role (`detail`)."""

    code, grpc_status, exit_code = "PERMISSION_DENIED", "PERMISSION_DENIED", 1
    http_status = 403
    redis_prefix = "NOPERM"


class JobFailed(RingmillError):
    """A job ended FAILED; `detail` has task, attempt, cause and the user's own frames."""

    code, grpc_status, exit_code = "JOB_FAILED", "ABORTED", 1
    http_status = 409


class JobKilled(RingmillError):
    """A job ended KILLED because a user killed it."""

    code, grpc_status, exit_code = "JOB_KILLED", "CANCELLED", 9
    http_status = 409


class ProtocolMismatch(RingmillError):
    """The other side speaks another version, or not our protocol at all."""

    code, grpc_status, exit_code = "PROTOCOL_MISMATCH", "FAILED_PRECONDITION", 1
    http_status = 502


_BY_CODE: Final[dict[str, type[RingmillError]]] = {
    cls.code: cls
    for cls in (
        RingmillError, NotFound, Conflict, QuorumNotReached, Unavailable, DeadlineExceeded, InvalidArgument,
        Overloaded, WrongEpoch, CorruptData, DiskFull, PermissionDenied, JobFailed, JobKilled,
        ProtocolMismatch, UnresolvedSiblings, ClientClosed, Stale,
    )
}  # fmt: skip


def reason_of(error: BaseException) -> str:
    """What an error says, or the name of its type when it says nothing: the reason that a list of failures
    gives."""
    return str(error) or type(error).__name__


def to_wire(error: RingmillError) -> list[Any]:
    """The msgpack-able form that crosses between processes: [code, message, detail, hint, outcome]."""
    return [error.code, sound(error.message), _sound_in(error.detail), sound(error.hint), error.outcome]


def sound(text: str) -> str:
    """A text that can be UTF-8: a name of a file that is none has lone surrogates, which are shown as
    escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _sound_in(value: Any) -> Any:
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, dict):
        return {_sound_in(name): _sound_in(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_sound_in(each) for each in value]
    return value


def from_wire(fields: Sequence[Any]) -> RingmillError:
    """The error that `to_wire` described; an unknown code becomes the base class, with the code kept."""
    code, message, detail, hint, outcome = fields[:5]
    cls = _BY_CODE.get(code)
    if cls is None:
        cls, message = RingmillError, f"{code}: {message}"
    error = cls(message, detail=detail, hint=hint, outcome=outcome)
    error.was_told = True
    return error
