"""A node that is added tells which topology documents it reads; one of the release before does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.administration.members import AsyncMembers
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.members_pb2 import ChangeMembersRequest, ChangeMembersResponse
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyResponse


class Newcomer:
    """n2 at any address, and whoever sends a change to the cluster."""

    def __init__(self, reads: int) -> None:
        self.topology = first_topology(
            "some", [Member(NodeId("n1"), DiskId("1" * 32), "127.0.0.1:7101")], r=1, w=1
        )
        self.reads = reads
        self.asked = ChangeMembersRequest()

    async def learn(self, timeout_s: float) -> None: ...

    async def catch_up(self, epoch: int, timeout_s: float) -> None: ...

    def link(self, address: str) -> Newcomer:
        return self

    async def call(self, method: Any, request: Any, timeout_s: float) -> IdentifyResponse:
        return IdentifyResponse(node="n2", disk="2" * 32, reads=self.reads)

    async def ask(self, method: Any, prepare: Any, target: Any, timeout_s: float) -> ChangeMembersResponse:
        self.asked = prepare(1, 1000, 0)
        return ChangeMembersResponse(epoch=2, changed=True)


@pytest.mark.parametrize(("told", "sent"), [(0, 7), (8, 8), (9, 9)])
async def test_the_cluster_is_told_what_a_newcomer_reads(told: int, sent: int) -> None:
    n2 = Newcomer(told)
    router: Any = SimpleNamespace(directory=n2, timeout_s=1.0, ask=n2.ask)
    await AsyncMembers(router).change(add={"n2": "127.0.0.1:7102"})
    assert [each.reads for each in n2.asked.add] == [sent]
