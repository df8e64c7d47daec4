"""What a register holds, and the changes that one can ask of it.

Each change that is applied raises the register's version by one.  The register remembers the operations
that made its last versions, so that an operation sent twice is applied once (rule R4).

Pure.  Rules: docs/protocol/registers.md.  Layout: docs/formats/register.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from ringmill.cluster.errors import InvalidArgument, Overloaded
from ringmill.cluster.versions.hybrid_time import HybridTime, millis
from ringmill.cluster.versions.objects import OperationId

__all__ = [
    "ABSENT",
    "AppliedChange",
    "Cas",
    "Change",
    "EMPTY_REGISTER",
    "Incr",
    "KEPT_OPERATIONS",
    "MAX_NUMBER",
    "Refused",
    "Register",
    "changed",
]

KEPT_OPERATIONS: Final = 16
KEPT_RETRIES_MS: Final = 120_000
KEPT_RETRIES: Final = 64
"""A later attempt is remembered for twice the longest deadline, so that the first one, should it come late,
finds it; and for this number of versions, as all clocks may be set ahead meanwhile."""
MAX_APPLIED: Final = 512
MAX_NUMBER: Final = (1 << 63) - 1
_LAST_TIME: Final = (1 << 64) - 1


class Absent:
    """The type of `ABSENT`: the expectation that a register has no value."""


ABSENT: Final = Absent()


class AppliedChange(NamedTuple):
    """An operation that a register remembers: the version that it made, when, and the number it led to."""

    operation: OperationId
    version: int
    time: HybridTime
    is_retry: bool = False
    number: int | None = None


class Register(NamedTuple):
    """`value` None: never written, or deleted.

    Operations that made versions up to `forgotten_version` may be missing among `applied`; none of those is
    younger than `forgotten`.
    """

    version: int = 0
    value: bytes | None = None
    applied: tuple[AppliedChange, ...] = ()
    forgotten_version: int = 0
    forgotten: HybridTime = HybridTime(0)

    def find(self, operation: OperationId) -> AppliedChange | None:
        for each in self.applied:
            if each.operation == operation:
                return each
        return None


EMPTY_REGISTER: Final = Register()


class Cas(NamedTuple):
    """Set to `value`, or with None delete, if the present value is `expect`; None for any present value."""

    expect: bytes | Absent | None
    value: bytes | None
    expect_version: int | None = None


class Incr(NamedTuple):
    """Add to the number that the register holds as decimal text; one without a value counts as 0."""

    by: int


Change: TypeAlias = Cas | Incr


class Refused(NamedTuple):
    """The condition is false: `current` is what the register holds."""

    current: Register


def changed(
    register: Register,
    change: Change,
    operation: OperationId,
    time: HybridTime,
    *,
    is_retry: bool,
    kept: int = KEPT_OPERATIONS,
) -> tuple[Register, AppliedChange] | Refused:
    """The next version, and the memory of it.

    `kept` is how many first attempts are remembered.

    Raises InvalidArgument for a number that is none, or too large; Overloaded when too many later attempts
    have to be remembered.
    """
    number: int | None = None
    if isinstance(change, Incr):
        number = _number(register.value) + change.by
        if abs(number) > MAX_NUMBER:
            raise InvalidArgument(f"the number would be {number}, at most {MAX_NUMBER} is allowed")
        value: bytes | None = b"%d" % number
    elif _fits(register, change):
        value = change.value
    else:
        return Refused(register)
    if time <= operation.birth:  # its coordinator's clock was more than 500 ms behind that of another node
        time = HybridTime(min(operation.birth + 1, _LAST_TIME))
    applied = AppliedChange(operation, register.version + 1, time, is_retry, number)
    following = _remembering(register._replace(version=applied.version, value=value), applied, kept)
    if is_retry and len(following.applied) > MAX_APPLIED:
        raise Overloaded(f"a register remembers {MAX_APPLIED} changes that were sent more than once")
    return following, applied


def _fits(register: Register, change: Cas) -> bool:
    if change.expect_version is not None and change.expect_version != register.version:
        return False
    if change.expect is None:
        return True
    return register.value == (None if isinstance(change.expect, Absent) else change.expect)


def _remembering(register: Register, applied: AppliedChange, kept: int) -> Register:
    """With the newest operation, and without those that need not be remembered any more."""
    plain = [each for each in register.applied if not each.is_retry]
    dropped = {each.version for each in plain[: max(0, len(plain) + 1 - kept)]}
    dropped |= {each.version for each in register.applied if each.is_retry and _is_over(each, applied)}
    forgotten = [each for each in register.applied if each.version in dropped]
    return register._replace(
        applied=(*(each for each in register.applied if each.version not in dropped), applied),
        forgotten_version=max([register.forgotten_version, *dropped]),
        forgotten=max([register.forgotten, *(each.time for each in forgotten)]),
    )


def _is_over(retry: AppliedChange, newest: AppliedChange) -> bool:
    is_old = millis(newest.time) - millis(retry.time) > KEPT_RETRIES_MS
    return is_old and newest.version - retry.version > KEPT_RETRIES


def _number(value: bytes | None) -> int:
    """Raises InvalidArgument."""
    if value is None:
        return 0
    digits = value[1:] if value.startswith(b"-") else value
    if not digits.isdigit() or len(value) > 20:
        raise InvalidArgument(
            f"the register holds {value[:40]!r}, which is not a number", hint="incr needs decimal text"
        )
    return int(value)
