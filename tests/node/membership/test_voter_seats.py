"""The vote of a member that has been down for long passes to one that is up (rule T3)."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.errors import QuorumNotReached
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.voters import with_vote_passed_on
from ringmill.node.membership.epoch_messages import EPOCH_ACCEPT, EPOCH_PREPARE, EpochRequest
from ringmill.node.membership.newest_document import NewestDocument
from ringmill.node.node_options import MembershipOptions, NodeOptions
from ringmill.simulator.patching import method, patched
from tests.node.membership.test_epochs import change, known, send
from tests.node.small_world import World

_SHORT = NodeOptions(membership=MembershipOptions(voter_down_s=30.0, voter_turn_s=2.0))


def watched(world: World, name: str) -> list[asyncio.Task[None]]:
    """Run what sees members down and what passes votes on."""
    membership = world.nodes[name].membership
    return [
        asyncio.ensure_future(world.on(name, loop))
        for loop in (membership.liveness.run(), membership.voter_seats.run())
    ]


async def wait_voters(world: World, node: str, *voters: str) -> None:
    async with asyncio.timeout(120):
        while known(world, node).voter_nodes != voters:  # noqa: ASYNC110 - nothing tells of an adoption
            await asyncio.sleep(0.5)


def test_votes_pass_on_one_after_the_other_and_the_cluster_can_change_with_two_voters_dead() -> None:
    world = World(nodes=5, options=_SHORT)
    five = world.topology.voter_nodes

    async def story() -> None:
        loops = [loop for name in world.names for loop in watched(world, name)]
        await asyncio.sleep(40)
        assert known(world, "n1").voter_nodes == five  # nobody is down, and all vote
        for loop in loops:
            loop.cancel()

    world.run(story())

    world = World(nodes=4, options=_SHORT)

    async def two_die() -> None:
        loops = [loop for name in world.names for loop in watched(world, name)]
        world.kill("n3")
        await wait_voters(world, "n1", "n1", "n2", "n4")
        assert known(world, "n1").epoch == 2
        world.kill("n2")
        assert (await change(world, "n4", "carts", 20)).was_made  # by n1 and n4
        back = await world.start("n3")
        assert back.membership.topology.serving_topology().voter_nodes == ("n1", "n2", "n4")
        loops += watched(world, "n3")
        await wait_voters(world, "n1", "n1", "n3", "n4")
        for loop in loops:
            loop.cancel()

    world.run(two_die())


async def behind_a_split(world: World) -> Topology:
    """What n3 takes for the newest document, asked with n2, when n1 and n4 have gone on with other voters.

    n2 has accepted the document that takes the vote of n3, and holds it not.
    """
    third = world.topology.member(NodeId("n3")).seat
    second = with_vote_passed_on(world.topology, third, world.names)
    assert second is not None
    ballot = Ballot(1, NodeId("n1"), 1, "aa")
    prepare = EpochRequest(world.topology.cluster, Epoch(2), ballot)
    for method_, request in (
        (EPOCH_PREPARE, prepare),
        (EPOCH_ACCEPT, prepare._replace(document=second.encode())),
    ):
        for voter in ("n1", "n2"):
            assert (await send(world, method_, voter, request)).refused_counter == 0
    for here in ("n1", "n4"):
        for there in ("n2", "n3"):
            world.cut(here, there)
    for node in ("n1", "n4"):
        await world.on(node, world.nodes[node].membership.topology.adopt(second))
    made = await change(world, "n1", "carts", 10)
    assert made.topology == created(second, NewKeyspace("carts"))
    return await world.on("n3", world.nodes["n3"].membership.topology.newest(6))


def test_whoever_asks_former_voters_takes_no_old_document_for_the_newest() -> None:
    world = World(nodes=4)

    async def story() -> None:
        with pytest.raises(QuorumNotReached, match="of epoch 2"):
            await behind_a_split(world)

    world.run(story())


def test_without_word_of_what_was_accepted_an_old_document_is_taken_for_the_newest() -> None:
    world = World(nodes=4)

    async def story() -> None:
        assert (await behind_a_split(world)).epoch == 1

    with patched(method(NewestDocument._has_accepted_after, lambda newest_document, epoch: False)):
        world.run(story())


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_whoever_was_in_a_minority_takes_no_vote_from_the_others_when_it_is_back(seed: int) -> None:
    """To n1 all others had seemed down for as long, and of some it hears later than of others."""
    world = World(nodes=4, options=_SHORT, seed=seed)

    async def story() -> None:
        loops = [loop for name in world.names for loop in watched(world, name)]
        for other in ("n2", "n3", "n4"):
            world.cut("n1", other)
        await wait_voters(world, "n2", "n4", "n2", "n3")
        await asyncio.sleep(20)
        for other in ("n2", "n3", "n4"):
            world.cut("n1", other, is_cut=False)
        await wait_voters(world, "n1", "n4", "n2", "n3")
        await asyncio.sleep(60)
        assert known(world, "n2").voter_nodes == ("n4", "n2", "n3")
        for loop in loops:
            loop.cancel()

    world.run(story())


def test_whoever_slept_sees_anew_who_is_down() -> None:
    """Its other clock, and its timers, stood still meanwhile."""
    world = World(nodes=4, options=_SHORT)

    async def story() -> None:
        loops = [loop for name in world.names for loop in watched(world, name)]
        world.kill("n3")
        await asyncio.sleep(28)
        for node in world.nodes.values():
            node.clock._booted_s += 3600.0
            node.clock.jump(3600.0)
        woken = world.loop.time()
        await wait_voters(world, "n1", "n1", "n2", "n4")
        assert world.loop.time() - woken > 25
        for loop in loops:
            loop.cancel()

    world.run(story())
