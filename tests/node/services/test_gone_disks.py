"""A member is given up by its disk only when the members find it silent and down, too (rule M2)."""

from __future__ import annotations

from typing import cast

import pytest

from ringmill.client.administration.member_plans import check_dead
from ringmill.client.routing.directory import Directory
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.members_pb2 import ChangeMembersRequest, ChangeMembersResponse
from ringmill.node.services.members_service import MembersService
from ringmill.node.services.table import Call
from ringmill.simulator.disk.moment import CrashModel
from tests.node.repair.healing_world import HealingWorld, run


async def remove_dead(world: HealingWorld, by: str, name: str) -> ChangeMembersResponse:
    service = MembersService(world[by].membership, world[by].moves)
    request = ChangeMembersRequest(remove=[name], dead=[name], timeout_ms=10_000)
    return await world.inside(by, service._change(request, Call(left_s=10.0)))


def test_a_member_that_answers_the_others_is_not_given_up_whatever_its_operator_can_reach() -> None:
    async def story(world: HealingWorld) -> None:
        before = world.world.topology
        with pytest.raises(InvalidArgument, match="n3 answers on its disk"):
            await remove_dead(world, "n4", "n3")
        link = world.world.network.link
        link("n4", "n3").is_cut = link("n3", "n4").is_cut = True
        with pytest.raises(Unavailable, match="n3 is not seen down by the members yet"):
            await remove_dead(world, "n4", "n3")
        assert world.world.topology == before

    run(story, nodes=4)


def test_a_member_that_is_asked_to_give_itself_up_sends_its_caller_to_another_one_at_once() -> None:
    async def story(world: HealingWorld) -> None:
        began_s = world.world.loop.time()
        with pytest.raises(Unavailable, match="n3 was asked to give itself up") as refused:
            await remove_dead(world, "n3", "n3")
        assert refused.value.outcome == "failed" and world.world.loop.time() == began_s

    run(story, nodes=4)


def test_a_member_that_was_killed_just_now_is_given_up_once_it_is_seen_down() -> None:
    async def story(world: HealingWorld) -> None:
        world.world.nodes["n3"].kill(CrashModel.PREFIX)
        assert (await remove_dead(world, "n4", "n3")).changed
        assert not (await remove_dead(world, "n4", "n3")).changed

    run(story, nodes=4)


def test_a_member_that_comes_back_on_an_empty_disk_is_given_up_by_its_former_one() -> None:
    async def story(world: HealingWorld) -> None:
        process = world.world.nodes["n3"]
        process.kill(CrashModel.PREFIX)
        process.disk.replace()
        process.start()
        await process.up()
        assert (await remove_dead(world, "n4", "n3")).changed

    run(story, nodes=4)


class Refusing:
    """A directory whose links are answered by this error."""

    def __init__(self, error: RingmillError) -> None:
        self.error = error

    def link(self, address: str) -> Refusing:
        return self

    async def call(self, *_: object) -> None:
        raise self.error


@pytest.mark.parametrize("was_told", [True, False])
async def test_a_member_that_refuses_its_operator_answers(was_told: bool) -> None:
    members = [Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"127.0.0.1:{7000 + at}") for at in (1, 2, 3)]
    error = PermissionDenied("another secret")
    error.was_told = was_told
    asked = check_dead(
        cast("Directory", Refusing(error)), first_topology("demo", members), [NodeId("n3")], 1.0
    )
    if not was_told:
        await asked
        return
    with pytest.raises(InvalidArgument, match="n3 answers"):
        await asked
