"""A join token that has added its node adds nobody any more, whatever becomes of that node (rule T11)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import ringmill.node.membership.letting_join
from ringmill.cluster.errors import Conflict, PermissionDenied, ProtocolMismatch
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ports import Incoming
from ringmill.cluster.ring.access.used_token_changes import used_up
from ringmill.cluster.ring.access.used_tokens import KEPT_AFTER_S, UsedToken
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.moves import aborted
from ringmill.cluster.ring.topology import Member, Topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.join_tokens import JOIN_NONCE_BYTES, JoinGrant, JoinToken
from ringmill.cluster.wire.stubs.members_pb2 import ChangeMembersRequest, JoinRequest, NewMember
from ringmill.node.membership.upgrades.document_versions import READS, DocumentVersions
from ringmill.node.services.members_service import MembersService
from ringmill.node.services.table import Call
from ringmill.simulator.patching import function, method, patched
from tests.node.small_world import World

SECRET = "s" * 40
N4 = NodeId("n4")
NONCE = b"n" * JOIN_NONCE_BYTES
HOUR_S = 3600
DAY_S = 86_400


def on_disk(disk: int, node: NodeId = N4) -> Member:
    return Member(node, DiskId(f"{disk:032x}"), "127.0.0.1:7109")


class Cluster:
    """Three members that let newcomers in."""

    def __init__(self) -> None:
        self.world = World(token=SECRET)

    def topology(self, node: str = "n1") -> Topology:
        return self.world.nodes[node].membership.topology.serving_topology()

    def token(self, salt: bytes = b"salt", *, valid_s: float = HOUR_S) -> JoinToken:
        now_s = self.world.nodes["n1"].core.clock.wall()
        return JoinGrant(self.topology().cluster, N4, int(now_s + valid_s), salt).token(SECRET)

    async def join(self, token: JoinToken, disk: int = 4, *, at: str = "n1") -> str:
        """The secret, as whoever shows the token from this disk gets it."""
        member = on_disk(disk)
        proof = token.request_proof(NONCE, member)
        joins = self.world.nodes[at].membership.joins
        asked = joins.admit(token.grant.encode(), proof, NONCE, member, 5, reads=FORMAT_VERSION)
        return token.open((await self.world.on(at, asked)).sealed, NONCE)

    async def ask(self, verb: str, request: Any) -> Any:
        """What n1 answers to a request as it comes from outside."""
        node = self.world.nodes["n1"]
        service = MembersService(node.membership, None)  # type: ignore[arg-type]  # no moves are asked for
        return await self.world.on("n1", getattr(service, verb)(request, Call(left_s=5.0)))

    async def change(self, change: Any, *, at: str = "n1") -> Topology:
        epochs = self.world.nodes[at].membership.epochs
        told = await self.world.on(at, epochs.change(lambda topology, _: change(topology), 5))
        return told.topology

    async def remove(self) -> None:
        """Before it owns anything; what it would own goes back."""
        assert not (await self.change(aborted)).has_member(N4)

    async def make(self, name: str, *, at: str = "n1") -> Topology:
        return await self.change(lambda topology: created(topology, NewKeyspace(name)), at=at)

    async def set_clocks(self, step_s: float, *nodes: str) -> None:
        """And let the members compare them."""
        for node in nodes:
            self.world.nodes[node].clock.jump(step_s)
        await asyncio.sleep(30)


def joins_again() -> bool:
    """Whether a token that was used adds another disk once its node was removed."""
    cluster = Cluster()

    async def story() -> bool:
        token = cluster.token()
        assert await cluster.join(token) == SECRET
        await cluster.remove()
        for node in ("n1", "n2", "n3"):
            try:
                await cluster.join(token, 5, at=node)
            except PermissionDenied as error:
                assert "is used up: n4 joined by it, and was removed" in error.message
                assert "`ringmill cluster join-token n4`" in error.hint
            else:
                return True
        return False

    told: bool = cluster.world.run(story())
    return told


def test_a_used_token_adds_nobody_once_its_node_was_removed() -> None:
    assert not joins_again()

    def forget(following: Topology, token: UsedToken, now_s: float) -> Topology:
        return following

    with patched(function(ringmill.node.membership.letting_join, used_up, forget)):
        assert joins_again()


def test_a_node_of_that_name_joins_again_by_another_token() -> None:
    cluster = Cluster()

    async def story() -> None:
        former, new = cluster.token(), cluster.token(b"more")
        await cluster.join(former)
        await cluster.remove()
        assert await cluster.join(new, 5, at="n2") == SECRET
        assert await cluster.join(new, 5, at="n3") == SECRET, "its answer was lost"
        await cluster.remove()
        for token in (former, new):
            with pytest.raises(PermissionDenied, match="and was removed"):
                await cluster.join(token, 6)
        assert len(cluster.topology("n3").used_tokens) == 2

    cluster.world.run(story())


def test_a_token_is_forgotten_by_an_epoch_that_is_made_anyway_and_is_over_then() -> None:
    cluster = Cluster()

    async def story() -> None:
        token = cluster.token()
        await cluster.join(token)
        await cluster.remove()
        await cluster.set_clocks(HOUR_S + KEPT_AFTER_S - 60, "n1", "n2", "n3")
        assert (await cluster.make("early")).used_tokens
        await cluster.set_clocks(120, "n1", "n2", "n3")
        assert cluster.topology().used_tokens, "no epoch is made for that alone"
        assert not (await cluster.make("late")).used_tokens
        with pytest.raises(PermissionDenied, match="has expired"):
            await cluster.join(token, 5)

    cluster.world.run(story())


def kept_beside_a_clock_that_is_ahead() -> bool:
    cluster = Cluster()

    async def story() -> bool:
        await cluster.join(cluster.token())
        await cluster.remove()
        await cluster.set_clocks(3 * DAY_S, "n2")
        return bool((await cluster.make("carts", at="n2")).used_tokens)

    told: bool = cluster.world.run(story())
    return told


def test_a_member_whose_clock_is_ahead_has_no_token_forgotten() -> None:
    assert kept_beside_a_clock_that_is_ahead()

    with patched(method(HybridClock.shared_expiry_ms, HybridClock.wall_ms)):
        assert not kept_beside_a_clock_that_is_ahead()


def test_a_member_whose_clock_is_behind_takes_no_token_that_is_over() -> None:
    cluster = Cluster()

    async def story() -> None:
        token = cluster.token()
        await cluster.set_clocks(2 * HOUR_S, "n1", "n3")
        with pytest.raises(PermissionDenied, match="has expired"):
            await cluster.join(token, at="n2")

    cluster.world.run(story())


def test_while_a_member_of_the_release_before_runs_nobody_joins_by_a_token() -> None:
    cluster = Cluster()

    def unknown(incoming: Incoming) -> bytes:
        raise ProtocolMismatch(f"{READS} is no method of this release")

    async def story() -> None:
        token = cluster.token()
        cluster.world.nodes["n3"].transport.serve(READS, unknown)
        with pytest.raises(Conflict, match="n3 cannot read topology documents of version 8") as told:
            await cluster.join(token)
        assert "upgrade all members" in told.value.hint and cluster.topology().epoch == 1
        cluster.world.nodes["n3"].transport.serve(READS, lambda incoming: bytes([8]))
        assert await cluster.join(token) == SECRET

    cluster.world.run(story())


def test_a_member_that_was_given_up_and_runs_on_as_the_former_cluster_is_not_asked() -> None:
    cluster = Cluster()

    def elsewhere(incoming: Incoming) -> bytes:
        raise ProtocolMismatch(f"a node of another cluster does not answer {READS} on this stream")

    async def story() -> None:
        cluster.world.nodes["n3"].transport.serve(READS, elsewhere)
        gone = replace(cluster.topology().member(NodeId("n3")), disk=DiskId("deaddeaddeaddead" + "0" * 16))
        members = (*cluster.topology().members[:2], gone)
        asked = SimpleNamespace(current=replace(cluster.topology(), members=members))
        transport = cluster.world.nodes["n1"].transport
        versions = DocumentVersions(NodeId("n1"), topology=asked, transport=transport)
        await cluster.world.on("n1", versions.check_read_by_all(FORMAT_VERSION, 1.0))

    cluster.world.run(story())


def newcomer(member: Member, reads: int, in_place_of: str = "") -> NewMember:
    seat = {"node": member.id, "disk": member.disk, "address": member.address}
    return NewMember(**seat, weight=1, in_place_of=in_place_of, reads=reads)


def test_a_newcomer_of_the_release_before_is_refused_before_anything_is_changed() -> None:
    """It could not read the topology that names it, and all other changes would wait for it."""
    cluster = Cluster()

    def joining(token: JoinToken, reads: int) -> JoinRequest:
        proof = token.request_proof(NONCE, on_disk(4))
        return JoinRequest(
            grant=token.grant.encode(), nonce=NONCE, member=newcomer(on_disk(4), reads), proof=proof
        )

    async def story() -> None:
        token = cluster.token()
        with pytest.raises(
            Conflict, match=r"n4 reads topology documents up to version 7, .* version 8"
        ) as refused:
            await cluster.ask("_join", joining(token, 0))
        assert "the release that the members run" in refused.value.hint
        assert cluster.topology().epoch == 1
        assert (await cluster.ask("_join", joining(token, FORMAT_VERSION))).epoch == 2

    cluster.world.run(story())


def test_no_node_of_the_release_before_is_added_while_a_used_token_is_noted() -> None:
    cluster = Cluster()

    async def story() -> None:
        n5 = on_disk(5, NodeId("n5"))
        no_note = await cluster.ask("_change", ChangeMembersRequest(add=[newcomer(n5, 7)]))
        assert no_note.changed
        await cluster.change(aborted)
        await cluster.join(cluster.token())
        await cluster.remove()
        epoch = cluster.topology().epoch
        for request in (
            ChangeMembersRequest(add=[newcomer(n5, 7)]),
            ChangeMembersRequest(add=[newcomer(n5, 7, in_place_of="n3")]),
        ):
            with pytest.raises(Conflict, match="n5 reads topology documents up to version 7"):
                await cluster.ask("_change", request)
        assert cluster.topology().epoch == epoch
        untold = await cluster.ask("_change", ChangeMembersRequest(add=[newcomer(n5, 0)]))
        assert untold.changed, "a client of the release before tells nothing"

    cluster.world.run(story())
