"""Claims are a lattice, and a message survives its encoding or is refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.claims import Claim, MemberState, Message, Rank
from ringmill.cluster.membership.gossip import Gossip

N1, N2 = NodeId("n1"), NodeId("n2")
DISK = DiskId("a" * 32)

ranks = st.builds(
    Rank, st.builds(Start, st.integers(0, 3), st.sampled_from(["", "a", "b"])), st.integers(0, 3)
)
claims = st.builds(
    Claim,
    st.sampled_from([N1, N2]),
    st.sampled_from([DISK, DiskId("b" * 32)]),
    st.sampled_from(list(MemberState)),
    ranks,
    st.sampled_from([NodeId(""), N2]),
)


@given(st.lists(claims.map(lambda c: Claim(N1, DISK, c.state, c.rank)), min_size=1), st.randoms())
def test_claims_in_any_order_end_in_the_same_one(heard: list[Claim], random: object) -> None:
    def end(order: list[Claim]) -> Claim:
        held = order[0]
        for claim in order[1:]:
            held = claim if claim.beats(held) else held
        return held

    shuffled = list(heard)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert end(shuffled) == end(heard)


@given(st.integers(0, 2**63 - 1), st.lists(claims, min_size=1, max_size=20), st.booleans())
def test_a_message_survives_its_encoding(epoch: int, said: list[Claim], is_full: bool) -> None:
    message = Message(epoch, tuple(said), is_full)
    assert Message.decode(message.encode()) == message


@given(st.binary(max_size=60))
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises((InvalidArgument, ProtocolMismatch)):
        Message.decode(data)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ([2, 1, False, []], ProtocolMismatch),
        ([1, 1, False, []], InvalidArgument),
        ([1, 1, False, [["n1", "d", 3, 1, "b", 0, ""]]], InvalidArgument),
        ([1, 1, False, [["n" * 65, "d", 0, 1, "b", 0, ""]]], InvalidArgument),
        ([1, 1, False, [["n1", "d", 0, 1, "b", 0, ""]] * 513], InvalidArgument),
        ([1, "1", False, [["n1", "d", 0, 1, "b", 0, ""]]], InvalidArgument),
    ],
)
def test_what_breaks_a_limit_is_refused(fields: list[object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Message.decode(msgpack.packb(fields))


def test_news_travels_on_a_bounded_number_of_messages_and_the_least_sent_goes_first() -> None:
    gossip = Gossip()
    old = Claim(N1, DISK, MemberState.UP, Rank(Start(1, "a"), 0))
    new = Claim(N2, DISK, MemberState.UP, Rank(Start(1, "a"), 0))
    gossip.add(old)
    assert gossip.take(1, limit=3) == [old]
    gossip.add(new)
    assert gossip.take(1, limit=3) == [new]
    taken = [claim for _ in range(5) for claim in gossip.take(2, limit=3)]
    assert (taken.count(old), taken.count(new)) == (2, 2)
    assert not gossip


def test_a_claim_that_is_beaten_stops_travelling() -> None:
    gossip = Gossip()
    gossip.add(Claim(N1, DISK, MemberState.SUSPECT, Rank(Start(1, "a"), 0), N2))
    refuted = Claim(N1, DISK, MemberState.UP, Rank(Start(1, "a"), 1))
    gossip.add(refuted)
    assert gossip.take(9, limit=3) == [refuted]


def test_the_same_bytes_are_the_same_message_again_and_refused_again() -> None:
    message = Message(3, (Claim(N1, DISK, MemberState.UP, Rank(Start(1, "a"), 0)),))
    assert Message.decode(message.encode()) == Message.decode(message.encode()) == message
    for _ in range(2):
        with pytest.raises(InvalidArgument):
            Message.decode(msgpack.packb([1, 0, False, []]))
