"""Tokens in the topology document: issued, revoked, and told to clients without their keys (rule F8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from ringmill.cluster.access.scram import KeptKeys, kept_keys
from ringmill.cluster.errors import Conflict, InvalidArgument, NotFound
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.access.access_changes import issued, required, revoked, token_named, without_access
from ringmill.cluster.ring.access.access_entries import MAX_TOKENS, OPEN_TO_ALL, Access, TokenEntry
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Topology, first_topology

FIRST = first_topology("demo", [Member(NodeId("n1"), DiskId("0" * 32), "127.0.0.1:7101")], partitions=16)
NOW_S = 1000.0
KEYS = kept_keys(b"s" * 32)


def token(number: int = 1, **changes: Any) -> TokenEntry:
    return replace(TokenEntry(f"{number:016x}", f"t{number}", "read", 900, 0, False, KEYS), **changes)


def after(topology: Topology | None) -> Topology:
    assert topology is not None, "nothing was to be changed"
    return topology


def with_tokens(*tokens: TokenEntry) -> Topology:
    return replace(FIRST, epoch=Epoch(2), access=Access(False, tokens))


def test_a_token_and_its_end_are_epochs_that_any_node_can_read() -> None:
    made = after(issued(FIRST, token(), NOW_S))
    ended = after(revoked(made, "t1"))
    closed = after(required(ended, is_required=True))
    for earlier, later in ((FIRST, made), (made, ended), (ended, closed)):
        check_next(earlier, later)
        assert Topology.decode(later.encode()) == later
    assert closed.access.is_required and token_named(closed.access, "t1").is_revoked


def test_changes_that_are_sent_again_change_nothing() -> None:
    made = after(issued(FIRST, token(), NOW_S))
    assert issued(made, token(made_s=950), NOW_S) is None, "another node may have stamped it"
    ended = after(revoked(made, "t1"))
    assert revoked(ended, "t1") is None and revoked(ended, token().id) is None
    assert required(FIRST, is_required=False) is None


def test_only_a_document_that_says_so_needs_the_release_that_can_read_it() -> None:
    made = after(issued(FIRST, token(), NOW_S))
    assert [msgpack.unpackb(each.encode())[0] for each in (FIRST, made)] == [1, 6]


def test_clients_are_told_no_keys_and_the_version_that_they_could_read_before() -> None:
    told = without_access(after(issued(FIRST, token(), NOW_S))).encode()
    assert msgpack.unpackb(told)[0] == 1 and Topology.decode(told).epoch == 2
    assert KEYS.stored not in told and KEYS.server not in told
    assert without_access(FIRST) is FIRST


def test_a_name_is_taken_for_as_long_as_its_token_is_in_force() -> None:
    made = after(issued(FIRST, token(expires_s=1100), NOW_S))
    with pytest.raises(Conflict, match="in force"):
        issued(made, token(2, name="t1"), NOW_S)
    later = after(issued(made, token(2, name="t1"), NOW_S + 100))
    assert token_named(later.access, "t1").id == token(2).id, "the one that is revoked is the one in force"
    other_keys = KeptKeys(b"1" * 32, b"2" * 32)
    with pytest.raises(Conflict, match="another token"):
        issued(made, token(name="t9", keys=other_keys), NOW_S)


def test_tokens_that_are_over_make_room_and_others_do_not() -> None:
    full = with_tokens(*(token(number) for number in range(MAX_TOKENS)))
    with pytest.raises(InvalidArgument, match="256 tokens are in force"):
        issued(full, token(MAX_TOKENS), NOW_S)
    room = after(issued(after(revoked(full, "t7")), token(MAX_TOKENS), NOW_S))
    assert len(room.access.tokens) == MAX_TOKENS and room.access.find(token(7).id) is None


def test_a_token_leaves_the_document_by_no_clock_that_may_be_ahead() -> None:
    full = with_tokens(*(token(number, expires_s=1500) for number in range(MAX_TOKENS)))
    for now_s, surely_s in ((1600.0, 1400.0), (1600.0, 0.0), (1400.0, 1600.0)):
        with pytest.raises(InvalidArgument, match="256 tokens are in force"):
            issued(full, token(MAX_TOKENS), now_s, surely_s)
    assert len(after(issued(full, token(MAX_TOKENS), 1600.0, 1600.0)).access.tokens) == 1


def test_a_name_is_revoked_with_all_that_have_it_and_an_id_alone() -> None:
    two = with_tokens(token(1, name="ci", expires_s=1100), token(2, name="ci"), token(3))
    assert [each.is_revoked for each in after(revoked(two, "ci")).access.tokens] == [True, True, False]
    assert [each.is_revoked for each in after(revoked(two, token(1).id)).access.tokens] == [
        True,
        False,
        False,
    ]


def test_what_is_not_there_cannot_be_revoked() -> None:
    with pytest.raises(NotFound, match="no token 'nobody'"):
        revoked(FIRST, "nobody")


@pytest.mark.parametrize(
    "changed",
    [{"is_revoked": False}, {"is_revoked": True, "role": "admin"}, {"is_revoked": True, "expires_s": 1}],
)
def test_a_document_that_gives_a_token_more_does_not_follow(changed: dict[str, Any]) -> None:
    before = with_tokens(token(is_revoked=True))
    check_next(before, replace(before, epoch=Epoch(3)))
    check_next(before, replace(before, epoch=Epoch(3), access=OPEN_TO_ALL))
    with pytest.raises(InvalidArgument, match="another one"):
        check_next(before, replace(before, epoch=Epoch(3), access=Access(False, (token(**changed),))))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "x"}, "16 hexadecimal"),
        ({"name": "no spaces"}, "is not a valid name"),
        ({"role": "root"}, "need one of read, write, jobs, admin"),
        ({"expires_s": -1}, "expires"),
        ({"keys": KeptKeys(b"short", b"2" * 32)}, "32 bytes"),
    ],
)
def test_limits(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        issued(FIRST, token(**changes), NOW_S)


@pytest.mark.parametrize("access", [None, [], [1, []], [False, [[]]], [False, [["0" * 16] * 8]], [False, []]])
def test_a_document_with_other_shapes_is_refused(access: object) -> None:
    fields = msgpack.unpackb(after(issued(FIRST, token(), NOW_S)).encode())
    with pytest.raises(InvalidArgument):
        Topology.decode(msgpack.packb([*fields[:-1], access]))
