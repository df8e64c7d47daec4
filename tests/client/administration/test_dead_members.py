"""A member may be removed as dead while it answers, once all others are cut off from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.administration import member_plans
from ringmill.client.administration.member_plans import check_dead
from ringmill.client.administration.members import AsyncMembers
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import IDENTIFY
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.members_pb2 import ChangeMembersRequest, ChangeMembersResponse
from ringmill.cluster.wire.stubs.membership_pb2 import MemberView, StatusResponse
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from tests.client.routing.test_router import FakeCluster, SteadyEntropy

TOPOLOGY = first_topology(
    "some", [Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"127.0.0.1:{7100 + at}") for at in range(1, 6)]
)
N5 = TOPOLOGY.member(NodeId("n5"))


class Members:
    """n5 answers; the others see it as `seen` says, and those that are not named there do not answer."""

    topology = TOPOLOGY

    def __init__(self, seen: Mapping[str, str], disk: str = N5.disk, *, others: str = "up") -> None:
        self._seen = {TOPOLOGY.member(NodeId(node)).address: state for node, state in seen.items()}
        self._disk = disk
        self._others = others
        self._address = ""
        self.is_changed = False

    def link(self, address: str) -> Members:
        at = Members({}, self._disk, others=self._others)
        at._seen, at._address = self._seen, address
        return at

    def see(self, state: str) -> None:
        self._seen.update(dict.fromkeys(self._seen, state))

    async def learn(self, timeout_s: float) -> None: ...

    async def catch_up(self, epoch: int, timeout_s: float) -> None: ...

    async def ask(self, method: Any, prepare: Any, target: Any, timeout_s: float) -> ChangeMembersResponse:
        self.is_changed = True
        return ChangeMembersResponse(epoch=2, changed=True)

    async def call(self, method: Any, request: Any, timeout_s: float) -> Any:
        if method is IDENTIFY and self._address == N5.address:
            return IdentifyResponse(node="n5", disk=self._disk)
        if self._address not in self._seen:
            raise Unavailable("nobody listens")
        node = next(each.id for each in TOPOLOGY.members if each.address == self._address)
        states = {str(each.id): self._others for each in TOPOLOGY.members}
        states |= {node: "up", "n5": self._seen[self._address]}
        views = [MemberView(id=each, state=state) for each, state in states.items()]
        return StatusResponse(node=node, members=views)


@pytest.mark.parametrize(
    ("seen", "is_let_go"),
    [
        ({"n1": "down", "n2": "down", "n3": "down", "n4": "down"}, True),
        ({"n1": "down", "n2": "down", "n3": "down"}, True),  # n4 may be dead itself
        ({"n1": "down", "n2": "down"}, False),  # these are not most of the others
        ({"n1": "down", "n2": "down", "n3": "down", "n4": "suspect"}, False),
        ({"n1": "up", "n2": "up", "n3": "up", "n4": "up"}, False),
        ({}, False),
    ],
)
async def test_one_that_answers_is_dead_when_most_others_tell_that_they_are_cut_off_and_none_else(
    seen: Mapping[str, str], is_let_go: bool
) -> None:
    asked = check_dead(Members(seen), TOPOLOGY, [N5.id], 1.0)  # type: ignore[arg-type]
    if is_let_go:
        await asked
        return
    with pytest.raises(InvalidArgument, match="n5 answers on its disk") as refused:
        await asked
    assert "cut it off" in refused.value.hint


async def test_one_that_answers_on_another_disk_is_dead() -> None:
    await check_dead(Members({}, "f" * 32), TOPOLOGY, [N5.id], 1.0)  # type: ignore[arg-type]


ALL_DOWN = {"n1": "down", "n2": "down", "n3": "down", "n4": "down"}


async def test_members_that_see_nobody_are_not_asked_about_one_that_answers() -> None:
    """They are cut off themselves, or their own starts are not confirmed yet."""
    with pytest.raises(InvalidArgument, match="n5 answers on its disk"):
        await check_dead(Members(ALL_DOWN, others="down"), TOPOLOGY, [N5.id], 1.0)  # type: ignore[arg-type]


async def test_a_member_that_was_given_up_need_not_answer() -> None:
    lost = [
        replace(each, disk=DiskId(f"deaddeaddeaddead{each.id[1:]:>016}")) for each in TOPOLOGY.members[2:4]
    ]
    topology = replace(TOPOLOGY, members=(*TOPOLOGY.members[:2], *lost, N5))
    await check_dead(Members({"n1": "down", "n2": "down"}), topology, [N5.id], 1.0)  # type: ignore[arg-type]


async def removed(members: Members, timeout: float | None = None) -> None:
    router: Any = SimpleNamespace(directory=members, timeout_s=1.0, ask=members.ask)
    await AsyncMembers(router).change(remove=["n5"], dead=["n5"], timeout=timeout)


@pytest.mark.parametrize("becomes", ["down", "up"])
async def test_one_that_answers_is_looked_at_twice(becomes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that just starts, or stops, answers for a moment while all others see it down."""
    members = Members(ALL_DOWN)
    monkeypatch.setattr(member_plans, "SECOND_LOOK_S", 0.05)
    asyncio.get_running_loop().call_later(0.01, members.see, becomes)
    if becomes == "down":
        await removed(members)
    else:
        with pytest.raises(InvalidArgument, match="n5 answers on its disk"):
            await removed(members)
    assert members.is_changed == (becomes == "down")


async def test_a_timeout_too_short_for_the_second_look_is_refused_at_once() -> None:
    members = Members(ALL_DOWN)
    with pytest.raises(DeadlineExceeded, match="looked at twice, 10 s apart"):
        await removed(members, timeout=5.0)
    assert not members.is_changed


class Changing(FakeCluster):
    """Its members change as they are told to; n1 runs on another disk."""

    def answer(self, request: Any) -> Any:
        if isinstance(request, IdentifyRequest):
            return IdentifyResponse(node="n1", disk="f" * 32)
        if isinstance(request, ChangeMembersRequest):
            return ChangeMembersResponse(epoch=self.topology.epoch, changed=True)
        return super().answer(request)


async def test_one_that_is_said_to_be_gone_is_not_asked_for_the_change() -> None:
    """Whoever has taken its host over would refuse it, or say that it was made."""
    cluster = Changing()
    first, second, *_ = cluster.nodes.values()
    async with Directory([second.address], cluster.dial) as directory:
        members = AsyncMembers(Router(directory, SteadyEntropy(), 1.0))
        assert (await members.change(remove=["n1"], dead=["n1"])).changed
        assert "Change" not in first.asked and second.asked[-1] == "Change"
        assert (await members.change(weights={"n2": 2})).changed
        assert first.asked[-1] == "Change", "it is the first of the members"
