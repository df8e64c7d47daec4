"""Used join tokens in the topology: kept until their time is long over, and told to no client (T11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgpack
import pytest

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.access.access_changes import required, without_access
from ringmill.cluster.ring.access.used_token_changes import used_up, without_over
from ringmill.cluster.ring.access.used_tokens import KEPT_AFTER_S, MAX_USED_TOKENS, UsedToken
from ringmill.cluster.ring.document import MAX_DOCUMENT_BYTES
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.moves import aborted
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Topology, first_topology

NOW_S = 1_800_000_000
NAMES = [NodeId(f"n{number}") for number in range(1, 6)]
FIRST = first_topology(
    "demo", [Member(name, DiskId(f"{at:032x}"), f"127.0.0.1:{7101 + at}") for at, name in enumerate(NAMES)]
)


def token(number: int = 1, expires_s: int = NOW_S + 3600) -> UsedToken:
    return UsedToken(number.to_bytes(16, "big"), expires_s)


def with_used(*tokens: UsedToken) -> Topology:
    return replace(FIRST, epoch=Epoch(2), used_tokens=tokens)


def version(document: bytes) -> int:
    found: int = msgpack.unpackb(document)[0]
    return found


def test_a_document_says_which_tokens_are_used_up_and_needs_a_later_release_only_then() -> None:
    used = used_up(replace(FIRST, epoch=Epoch(2)), token(), NOW_S)
    assert used.has_used(token().id) and not used.has_used(token(2).id)
    check_next(FIRST, used)
    assert Topology.decode(used.encode()) == used
    kept = created(used, NewKeyspace("carts"))
    assert kept is not None and kept.used_tokens == (token(),)
    assert [version(each.encode()) for each in (FIRST, used, kept)] == [1, 8, 8]


def test_a_document_of_the_release_before_is_read_as_one_without_used_tokens() -> None:
    clusters = [f"{number:032x}" for number in (1, 2)]
    former = replace(FIRST, epoch=Epoch(9), formers=tuple(clusters))  # type: ignore[arg-type]
    fields = msgpack.unpackb(former.encode())
    assert fields[0] == 7 and len(fields) == 15
    assert Topology.decode(msgpack.packb(fields)).used_tokens == ()
    for wrong in ([8, *fields[1:]], [8, *fields[1:], []], [*fields, [[b"1" * 16, 5]]]):
        with pytest.raises(InvalidArgument):
            Topology.decode(msgpack.packb(wrong))


def test_clients_are_told_the_version_that_they_could_read_before() -> None:
    told = without_access(with_used(token())).encode()
    assert version(told) == 1 and token().id not in told


def test_a_token_is_forgotten_a_day_after_its_end_and_not_before() -> None:
    topology = with_used(token(1, NOW_S), token(2, NOW_S + 60))
    over_s = NOW_S + KEPT_AFTER_S
    assert without_over(topology, 0) is topology
    assert without_over(topology, over_s - 1) is topology
    assert without_over(topology, over_s).used_tokens == (token(2, NOW_S + 60),)
    none = without_over(topology, over_s + 60)
    assert none.used_tokens == () and version(none.encode()) == 1


def test_as_many_as_a_document_has_room_for_are_remembered_and_none_is_pushed_out() -> None:
    full = with_used(*(token(number, NOW_S + number) for number in range(MAX_USED_TOKENS)))
    full.check()
    assert len(full.encode()) - len(FIRST.encode()) < MAX_DOCUMENT_BYTES / 40
    with pytest.raises(Conflict, match="1024 join tokens were used"):
        used_up(full, token(MAX_USED_TOKENS), NOW_S)
    later = used_up(full, token(MAX_USED_TOKENS), NOW_S + KEPT_AFTER_S)
    assert later.used_tokens == (*full.used_tokens[1:], token(MAX_USED_TOKENS))


def test_a_cluster_that_was_made_of_another_one_needs_none_of_its_tokens() -> None:
    assert recovered(with_used(token()), NAMES[:3]).used_tokens == ()


N9 = Member(NodeId("n9"), DiskId("9" * 32), "127.0.0.1:7190")


def with_n9(topology: Topology) -> Topology:
    following = with_members(topology, MemberChanges(add=[N9]))
    assert following is not None
    return following


@pytest.mark.parametrize(
    "change",
    [
        with_n9,
        lambda topology: with_members(topology, MemberChanges(remove=[NAMES[0]])),
        lambda topology: with_members(topology, MemberChanges(remove=[NAMES[0]]), [NAMES[0]]),
        lambda topology: with_members(topology, MemberChanges(replace={NAMES[0]: N9})),
        lambda topology: aborted(with_n9(topology)),
        lambda topology: replaced(topology, NAMES[0], topology.member(NAMES[0]).disk, N9.disk),
        lambda topology: required(topology, is_required=True),
    ],
    ids=["add", "remove", "remove --dead", "replace", "abort", "disk", "auth"],
)
def test_whatever_becomes_of_members_used_tokens_stay(change: Callable[[Topology], Topology]) -> None:
    after = change(with_used(token()))
    assert after.epoch > 2 and after.used_tokens == (token(),)
    assert Topology.decode(after.encode()) == after


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ((UsedToken(b"short", NOW_S),), "has 5 bytes, need 16"),
        ((token(), token()), "two used join tokens have one id"),
        ((token(1, -1),), "end of a used join token is -1"),
        (tuple(token(number) for number in range(MAX_USED_TOKENS + 1)), "number of used join tokens is 1025"),
    ],
)
def test_what_a_document_may_not_hold_is_named(tokens: tuple[UsedToken, ...], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        with_used(*tokens).check()
