"""What a register becomes by a change, what it remembers, and that its bytes come back as they went."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ringmill.cluster.consensus.acceptor import AcceptorState
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import (
    ABSENT,
    EMPTY_REGISTER,
    KEPT_OPERATIONS,
    KEPT_RETRIES,
    MAX_APPLIED,
    MAX_NUMBER,
    AppliedChange,
    Cas,
    Change,
    Incr,
    Refused,
    Register,
    changed,
)
from ringmill.cluster.consensus.register_codec import (
    decode_acceptor,
    decode_register,
    encode_acceptor,
    encode_register,
)
from ringmill.cluster.errors import CorruptData, InvalidArgument, Overloaded, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.versions.hybrid_time import HybridTime, hybrid_time
from ringmill.cluster.versions.objects import OperationId

SEQUENCE = count(1)


def named() -> OperationId:
    return OperationId(7, next(SEQUENCE), HybridTime(0))


def made(register: Register, change: Change, *, ms: int = 1, is_retry: bool = False) -> Register:
    told = changed(register, change, named(), hybrid_time(ms), is_retry=is_retry)
    assert not isinstance(told, Refused), told
    return told[0]


def test_a_cas_fits_by_value_by_absence_and_by_version() -> None:
    first = made(EMPTY_REGISTER, Cas(ABSENT, b"a"))
    assert (first.version, first.value) == (1, b"a")
    second = made(first, Cas(b"a", b"b"))
    third = made(second, Cas(None, None, expect_version=2))
    assert (third.version, third.value) == (3, None)
    assert made(third, Cas(ABSENT, b"again")).version == 4


@pytest.mark.parametrize("change", [Cas(ABSENT, b"x"), Cas(b"b", b"x"), Cas(None, b"x", expect_version=0)])
def test_a_condition_that_is_false_shows_what_there_is(change: Cas) -> None:
    present = made(EMPTY_REGISTER, Cas(ABSENT, b"a"))
    assert changed(present, change, named(), hybrid_time(2), is_retry=False) == Refused(present)


def test_numbers_are_counted_exactly_within_64_bits() -> None:
    register = EMPTY_REGISTER
    for by in (5, -7, MAX_NUMBER):
        register = made(register, Incr(by))
    assert register.value == b"%d" % (MAX_NUMBER - 2)
    with pytest.raises(InvalidArgument, match=r"at most 9223372036854775807"):
        made(register, Incr(3))
    with pytest.raises(InvalidArgument, match="is not a number"):
        made(made(EMPTY_REGISTER, Cas(ABSENT, b"five")), Incr(1))


def test_an_operation_is_found_until_more_have_followed_than_are_remembered() -> None:
    first = named()
    told = changed(EMPTY_REGISTER, Incr(1), first, hybrid_time(5), is_retry=False)
    assert not isinstance(told, Refused)
    register = told[0]
    for _ in range(KEPT_OPERATIONS - 1):
        register = made(register, Incr(1), ms=6)
        assert register.find(first) == told[1]
        assert register.forgotten_version == 0
    register = made(register, Incr(1), ms=6)
    assert register.find(first) is None
    assert (register.forgotten_version, register.forgotten) == (1, hybrid_time(5))


def test_a_later_attempt_is_remembered_for_longer_by_time_and_by_number() -> None:
    later = named()
    told = changed(EMPTY_REGISTER, Incr(1), later, hybrid_time(5), is_retry=True)
    assert not isinstance(told, Refused)
    soon = told[0]
    for _ in range(KEPT_RETRIES + 9):
        soon = made(soon, Incr(1), ms=90_000)
    assert soon.find(later) is not None, "not old enough"
    ahead = made(told[0], Incr(1), ms=10_000_000)
    assert ahead.find(later) is not None, "clocks may have been set ahead"
    assert made(soon, Incr(1), ms=10_000_000).find(later) is None


u64 = some.integers(0, 2**64 - 1)
operations = some.builds(OperationId, u64, some.integers(0, 2**32 - 1), u64.map(HybridTime))
numbers = some.none() | some.integers(-(2**63), 2**63 - 1)
applied = some.builds(
    AppliedChange,
    operations,
    u64,
    u64.map(HybridTime),
    some.booleans(),
    numbers,
)
registers = some.builds(
    Register,
    u64,
    some.none() | some.binary(),
    some.lists(applied, max_size=4).map(tuple),
    u64,
    u64.map(HybridTime),
)
ballots = some.builds(
    Ballot,
    some.integers(0, 2**62),
    some.text(max_size=5).map(NodeId),
    some.integers(0, 2**40),
    some.text(max_size=5),
)


@given(registers, ballots, ballots)
def test_registers_and_acceptors_come_back_from_their_bytes(
    register: Register, one: Ballot, two: Ballot
) -> None:
    data = encode_register(register)
    assert decode_register(data) == register
    state = AcceptorState(one, two, data)
    assert decode_acceptor(encode_acceptor(state)) == state


@given(some.binary(min_size=1, max_size=60))
def test_other_bytes_are_refused(data: bytes) -> None:
    for decode in (decode_register, decode_acceptor):
        for head in (data, b"\x01" + data):
            try:
                decode(head)
            except (CorruptData, ProtocolMismatch):
                continue


def test_no_bytes_are_a_register_that_nobody_has_touched() -> None:
    assert decode_register(b"") == EMPTY_REGISTER
    assert decode_acceptor(None) == decode_acceptor(b"") == AcceptorState()


def test_what_is_forgotten_is_no_older_than_the_birth_of_its_operation() -> None:
    """The clock of its coordinator was behind that of the node which told the client the time."""
    late = OperationId(7, next(SEQUENCE), hybrid_time(9_000_000))
    told = changed(EMPTY_REGISTER, Incr(1), late, hybrid_time(5), is_retry=False)
    assert not isinstance(told, Refused)
    register = told[0]
    for _ in range(KEPT_OPERATIONS):
        register = made(register, Incr(1), ms=6)
    assert register.find(late) is None
    assert register.forgotten >= late.birth, "a later attempt would count a second time"


def test_later_attempts_are_taken_again_once_earlier_ones_need_not_be_remembered() -> None:
    register = EMPTY_REGISTER
    for _ in range(MAX_APPLIED):
        register = made(register, Incr(1), ms=5, is_retry=True)
    with pytest.raises(Overloaded):
        made(register, Incr(1), ms=100_000, is_retry=True)
    assert made(register, Incr(1), ms=600_000, is_retry=True).value == b"%d" % (MAX_APPLIED + 1)
