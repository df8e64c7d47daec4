"""The acceptor: what one owner remembers of one register, and what it may still agree to.

Pure: each step takes the present state and returns the next one, or None when it refuses.  Whoever calls
must have the next state on the disk before it answers.  Single-decree Paxos with changing values, as in
CASPaxos (Rystsov, 2018).  Rule R1: docs/protocol/registers.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot

__all__ = ["AcceptorState", "UNTOUCHED", "accept", "prepare"]


class AcceptorState(NamedTuple):
    """`promised` is never below `accepted`.  `value` is what was accepted; b"" before anything was."""

    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    value: bytes = b""


UNTOUCHED: Final = AcceptorState()


def prepare(state: AcceptorState, ballot: Ballot, floor: int = 0) -> AcceptorState | None:
    """Promise to accept nothing below `ballot`; None when something higher, or as high, was promised.

    Counters up to `floor` count as promised: of this owner's damaged registers some may have been (rule R2).
    """
    if ballot.counter <= floor or ballot <= state.promised:
        return None
    return state._replace(promised=ballot)


def accept(state: AcceptorState, ballot: Ballot, value: bytes, floor: int = 0) -> AcceptorState | None:
    """Take a value; None when something higher was promised meanwhile."""
    if ballot.counter <= floor or ballot < state.promised:
        return None
    return AcceptorState(ballot, ballot, value)
