"""A join token: its node is added, and is given the secret; nobody else is (rule T11)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.access.cluster_secret import HeldSecret
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import ClusterId, DiskId, NodeId
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, Topology
from ringmill.cluster.wire.join_tokens import JOIN_NONCE_BYTES, JoinGrant, JoinToken
from ringmill.cluster.wire.stubs.members_pb2 import JoinRequest, JoinResponse
from ringmill.node.joining.joining_cluster import secret_by_token
from ringmill.node.membership import letting_join
from ringmill.node.membership.letting_join import LettingJoin
from ringmill.node.membership.upgrades.document_versions import DocumentVersions
from ringmill.simulator.world.seeds import SeededEntropy
from tests.node.small_world import World

SECRET = "the cluster's secret, which has more than one block of the pad"
N4 = NodeId("n4")
HOUR_S = 3600


class Door:
    """What members say to requests that join, and what a newcomer holds."""

    def __init__(self) -> None:
        self.world = World()
        self.nodes = self.world.nodes

    def joins(self, node: str, text: str = SECRET) -> LettingJoin:
        room = self.nodes[node].membership
        core = self.nodes[node].core
        return LettingJoin(
            HeldSecret(text),
            topology=room.topology,
            epochs=room.epochs,
            starts=room.starts,
            versions=DocumentVersions(core.node, topology=room.topology, transport=core.transport),
            hybrid=core.hybrid,
            entropy=core.doors.entropy,
        )

    def now_s(self) -> float:
        return self.nodes["n1"].core.clock.wall()

    def token(self, *, secret: str = SECRET, cluster: str = "", valid_s: float = HOUR_S) -> JoinToken:
        of = ClusterId(cluster) if cluster else self.world.topology.cluster
        return JoinGrant(of, N4, int(self.now_s() + valid_s), b"salt").token(secret)

    async def ask(
        self, token: JoinToken, *, at: str = "n1", member: Member | None = None, text: str = SECRET
    ) -> str:
        """The secret, as a newcomer gets it from this member."""
        newcomer = member or newcomer_on(4)
        nonce = b"n" * JOIN_NONCE_BYTES
        proof = token.request_proof(nonce, newcomer)
        joins = self.joins(at, text)
        asked = joins.admit(token.grant.encode(), proof, nonce, newcomer, 5, reads=FORMAT_VERSION)
        return token.open((await self.world.on(at, asked)).sealed, nonce)

    def member(self) -> Member | None:
        known = self.nodes["n1"].membership.topology.serving_topology()
        return next((each for each in known.members if each.id == N4), None)


def newcomer_on(disk: int, node: NodeId = N4) -> Member:
    return Member(node, DiskId(f"{disk:032x}"), "127.0.0.1:7109")


async def refused(asked: Any, why: str, *, hint: str = "") -> None:
    with pytest.raises(PermissionDenied, match=why) as told:
        await asked
    assert hint in told.value.hint


def test_the_node_of_a_token_becomes_a_member_and_is_given_the_secret() -> None:
    door = Door()

    async def story() -> None:
        token = JoinToken.parse(door.token().text)
        assert await door.ask(token) == SECRET
        assert (member := door.member()) is not None and member.seat == newcomer_on(4).seat

    door.world.run(story())


def test_a_token_is_used_up_by_its_node_which_may_ask_again_though_it_has_expired() -> None:
    door = Door()

    async def story() -> None:
        token = door.token(valid_s=30)
        await door.ask(token)
        await refused(
            door.ask(token, member=newcomer_on(5), at="n2"),
            "is used up: n4 is a member",
            hint="copy the token file of another node",
        )
        await asyncio.sleep(60)
        assert await door.ask(token, at="n3") == SECRET
        await refused(door.ask(token, member=newcomer_on(5)), "has expired")

    door.world.run(story())


def test_a_member_that_listens_elsewhere_by_now_is_told_where_it_is_dialled() -> None:
    door = Door()

    async def story() -> None:
        token = door.token()
        await door.ask(token)
        elsewhere = replace(newcomer_on(4), address="127.0.0.1:7110")
        with pytest.raises(InvalidArgument, match=r"joined at \S+:7109, .* is at \S+:7110"):
            await door.ask(token, member=elsewhere)
        assert await door.ask(token) == SECRET

    door.world.run(story())


def two_hosts(door: Door) -> list[str | RingmillError]:
    """What two hosts are given that are started with one token at once."""

    async def story() -> list[str | RingmillError]:
        token = door.token()
        asked = [door.ask(token, at=f"n{number}", member=newcomer_on(3 + number)) for number in (1, 2)]
        return list(await asyncio.gather(*asked, return_exceptions=True))  # type: ignore[arg-type]

    given: list[str | RingmillError] = door.world.run(story())
    return given


def test_of_two_hosts_with_one_token_one_is_given_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    given = two_hosts(Door())
    assert given.count(SECRET) == 1
    assert sum(isinstance(each, PermissionDenied) for each in given) == 1

    def by_name(topology: Any, changes: Any) -> Any:
        known = any(member.id == N4 for member in topology.members)
        return None if known else with_members(topology, changes)

    monkeypatch.setattr(letting_join, "with_members", by_name)  # were only the name looked at
    monkeypatch.setattr(Topology, "has_seat", lambda topology, seat: topology.has_member(seat.node))
    assert two_hosts(Door()).count(SECRET) == 2


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"secret": "guessed"}, "was not made with the secret"),
        ({"cluster": "f" * 32}, "is of another cluster"),
        ({"valid_s": -1}, "has expired"),
        ({"valid_s": 9 * 86_400}, "valid for longer than 7 days"),
    ],
)
def test_an_invalid_token_adds_nobody(made: Mapping[str, Any], why: str) -> None:
    door = Door()

    async def story() -> None:
        await refused(door.ask(door.token(**made)), why)
        await refused(door.ask(door.token(), member=newcomer_on(5, NodeId("n5"))), "is for n4, not for n5")
        assert door.member() is None

    door.world.run(story())


@pytest.mark.parametrize(
    ("made_of", "held", "told"),
    [
        ("old", "old\nnext new", "old"),
        ("new", "old\nnext new", "old\nnext new"),
        ("old", "new\nformer old", ""),
        ("new", "new\nformer old", "new\nformer old"),
        ("old", "new", ""),
    ],
)
def test_while_the_secret_is_rotated_no_token_of_the_old_one_brings_the_new_one(
    made_of: str, held: str, told: str
) -> None:
    """Who has found out the old one makes tokens as it likes, and must not learn the new one by them."""
    door = Door()

    async def story() -> None:
        asked = door.ask(door.token(secret=made_of), text=held)
        if told:
            assert await asked == told
            return
        await refused(asked, "was not made with the secret of this cluster", hint="may have been rotated")
        assert door.member() is None

    door.world.run(story())


class Answering:
    """A seed: a member, or a stranger that answers as it likes."""

    def __init__(self, door: Door, stranger: bytes | RingmillError | None = None) -> None:
        self.door = door
        self.stranger = stranger
        self.asked: list[JoinRequest] = []

    async def unary(self, path: str, request: Any, answer: Any, timeout_s: float) -> Any:
        assert path == "/ringmill.v1.Members/Join"
        self.asked.append(request)
        if isinstance(self.stranger, RingmillError):
            raise self.stranger
        if self.stranger is not None:
            return JoinResponse(epoch=2, sealed=self.stranger)
        joins = self.door.joins("n1")
        member = newcomer_on(4)
        reads = request.member.reads
        given = joins.admit(request.grant, request.proof, request.nonce, member, 5, reads=reads)
        return JoinResponse(epoch=2, sealed=(await self.door.world.on("n1", given)).sealed)

    async def close(self) -> None: ...


async def joined(door: Door, *seeds: Answering) -> str:
    at = {f"127.0.0.1:{7200 + number}": seed for number, seed in enumerate(seeds)}
    entropy = SeededEntropy(1, "n4")
    return await secret_by_token(
        door.token(), newcomer_on(4), list(at), open_seed=at.__getitem__, entropy=entropy
    )


def test_a_newcomer_takes_the_secret_from_nobody_but_a_member() -> None:
    door = Door()

    async def story() -> None:
        strangers = [
            Answering(door, b""),
            Answering(door, b"x" * 100),
            Answering(door, PermissionDenied("go away")),
            Answering(door, Unavailable("nobody listens")),
        ]
        member = Answering(door)
        assert await joined(door, *strangers, member) == SECRET
        key = door.token().key
        assert all(key not in seed.asked[0].SerializeToString() for seed in (*strangers, member))
        with pytest.raises(PermissionDenied, match="go away"):
            await joined(door, Answering(door, PermissionDenied("go away")))

    door.world.run(story())
