"""What only the state of a member that answers speaks against is looked at again before it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.client.administration import second_looks
from ringmill.client.administration.members import AsyncMembers
from ringmill.client.administration.ring_view import AsyncRing
from ringmill.client.administration.second_looks import seen_by_all
from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import IDENTIFY, STATUS
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.wire.stubs.membership_pb2 import MemberView, SizesResponse, StatusResponse
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyResponse
from tests.client.routing.test_router import FakeCluster, FakeNode, SteadyEntropy


class Member(FakeNode):
    """One that tells how it sees n3: as down, until it has met it."""

    async def call(self, method: Any, request: Any, timeout_s: float) -> Any:
        cluster = self.cluster
        assert isinstance(cluster, Starting)
        name = next(each.id for each in cluster.topology.members if each.address == self.address)
        if name in cluster.dead:
            raise Unavailable(f"{name}: connection refused", outcome="failed")
        if method is IDENTIFY:
            return IdentifyResponse(node=name, disk="f" * 32)
        if method is STATUS:
            cluster.looks += 1
            sees_n3 = "up" if name == "n3" or cluster.looks > cluster.meets_after else "down"
            states = {str(each.id): "up" for each in cluster.topology.members}
            states |= {"n3": sees_n3} | dict.fromkeys(cluster.dead, "down")
            views = [MemberView(id=each, state=state) for each, state in states.items()]
            return StatusResponse(
                node=name,
                pid=7,
                epoch=cluster.topology.epoch,
                members=views,
                damaged_ranges=int(name in cluster.damaged),
            )
        if method.answer is SizesResponse:
            return SizesResponse(node=name)
        return await super().call(method, request, timeout_s)


class Starting(FakeCluster):
    """n1 runs on an empty disk.  The others meet n3 after this number of questions about the status."""

    def __init__(
        self, meets_after: int, *, dead: tuple[str, ...] = (), damaged: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.nodes = {address: Member(address, self) for address in self.nodes}
        self.meets_after, self.dead, self.damaged = meets_after, dead, damaged
        self.looks = 0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_looks, "_LOOK_EVERY_S", 0.001)


async def plan(cluster: Starting, *, timeout_s: float = 20.0, remove: str = "") -> Any:
    """Of the replacement of n1's disk, or of the removal of a member."""
    async with Directory([f"127.0.0.1:710{at}" for at in (1, 2)], cluster.dial) as directory:
        router = Router(directory, SteadyEntropy(), timeout_s)
        if remove:
            return await AsyncRing(router).plan(remove=[remove])
        return await AsyncMembers(router).plan_replacement("n1")


@pytest.mark.parametrize("remove", ["", "n1"])
async def test_an_owner_that_answers_and_is_not_seen_up_yet_is_looked_at_again(remove: str) -> None:
    damaged = ("n2",) if remove else ()  # of the three owners of a partition two fill it
    cluster = Starting(meets_after=17, damaged=damaged)
    made = await plan(cluster, remove=remove)
    assert (made.short, made.missing) == ((), ())


@pytest.mark.parametrize("lost", [{"dead": ("n3",)}, {"damaged": ("n3",)}])
async def test_an_owner_that_is_away_or_not_whole_is_told_of_at_once(
    lost: dict[str, tuple[str, ...]],
) -> None:
    cluster = Starting(meets_after=10_000, **lost)
    made = await plan(cluster)
    assert made.short and made.missing == ("n3",)
    assert cluster.looks <= 2 * len(cluster.nodes), "they were asked once, or again for a newer topology"


async def test_one_that_is_cut_off_is_told_of_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_looks, "SEEN_WITHIN_S", 0.05)
    cluster = Starting(meets_after=1_000_000)
    made = await plan(cluster)
    assert made.missing == ("n3",) and cluster.looks > 2 * len(cluster.nodes)


def status(*states: str) -> ClusterStatus:
    """Of members that answer, but those that are silent."""
    nodes = tuple(
        NodeStatus(f"n{at}", f"h:{at}", "down" if state == "silent" else state, "up", 4,
                   pid=None if state == "silent" else at)
        for at, state in enumerate(states, 1)
    )  # fmt: skip
    return ClusterStatus("c", 2, 3, "ok", (), "n1", Ranges(8, 0, 0), nodes)


async def test_a_status_is_asked_again_for_members_that_answer_alone() -> None:
    told = [status("up", "suspect"), status("up", "suspect"), status("up", "slow")]
    asked = iter(told)

    async def ask() -> ClusterStatus:
        return next(asked)

    assert await seen_by_all(ask) is told[-1]
    asked = iter([away := status("up", "silent")])
    assert await seen_by_all(ask) is away
