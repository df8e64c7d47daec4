"""A second loss is told to a member that is left, not to one that was given up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ringmill.client.administration.members import AsyncMembers
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.members_pb2 import RecoverResponse


class Addresses:
    """A directory that notes who is asked."""

    def __init__(self) -> None:
        members = [
            Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"127.0.0.1:{7100 + at}") for at in range(1, 6)
        ]
        self.topology = recovered(first_topology("some", members), [member.id for member in members[:3]])
        self.asked: list[str] = []

    async def learn(self, timeout_s: float) -> None:
        pass

    async def catch_up(self, epoch: int, timeout_s: float) -> None:
        pass

    def link(self, address: str) -> Addresses:
        self.asked.append(address)
        return self

    async def call(self, method: Any, request: Any, timeout_s: float) -> RecoverResponse:
        return RecoverResponse(cluster="other", epoch=2, changed=True)


async def test_a_second_word_is_given_to_a_member_that_has_a_disk() -> None:
    directory = Addresses()
    members = AsyncMembers(SimpleNamespace(directory=directory, timeout_s=1.0))  # type: ignore[arg-type]
    await members.recover(["n4"])
    assert directory.asked == ["127.0.0.1:7105"]
