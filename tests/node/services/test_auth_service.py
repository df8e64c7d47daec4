"""Tokens are issued by the time that the members share, whatever the clock of the node that answers says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.access.scram import kept_keys
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.access.access_entries import MAX_TOKENS
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.stubs.auth_pb2 import AccessAnswer, IssueTokenRequest
from ringmill.node.membership.room import Membership
from ringmill.node.services.access.auth_service import AuthService
from ringmill.node.services.table import Call

KEYS = kept_keys(b"s" * 32)
SHARED_S = 1_000_000.0


class Epochs:
    """Takes every change at once."""

    def __init__(self) -> None:
        members = [Member(NodeId("n1"), DiskId("0" * 32), "127.0.0.1:7101")]
        self.topology = first_topology("demo", members, partitions=16)

    async def change(self, change: Callable[[Topology, Any], Topology | None], _: float) -> Any:
        changed = change(self.topology, None)
        self.topology = changed or self.topology
        return SimpleNamespace(topology=self.topology, was_made=changed is not None)


class Service:
    """Of a node whose clock is `ahead_s` of the one that the members share."""

    def __init__(self, epochs: Epochs, ahead_s: float) -> None:
        clock = SimpleNamespace(wall=lambda: SHARED_S + ahead_s, boottime=lambda: 0.0)
        hybrid = HybridClock(cast("Any", clock))
        hybrid.expiry_follows(SHARED_S * 1000)
        membership = cast("Membership", SimpleNamespace(epochs=epochs))
        self._methods = AuthService(membership, hybrid)

    async def issue(self, number: int, lifetime_s: int = 0) -> AccessAnswer:
        request = IssueTokenRequest(
            id=f"{number:016x}", name=f"t{number}", role="read", lifetime_s=lifetime_s,
            stored_key=KEYS.stored, server_key=KEYS.server, timeout_ms=5000,
        )  # fmt: skip
        return await self._methods._issue(request, cast("Call", SimpleNamespace(left_s=5.0)))


@pytest.mark.parametrize("ahead_s", [-3600.0, 86_400.0])
async def test_a_token_lives_by_the_shared_time(ahead_s: float) -> None:
    told = await Service(Epochs(), ahead_s).issue(1, 1800)
    assert [(each.made_s, each.expires_s, each.expired) for each in told.tokens] == [
        (SHARED_S, SHARED_S + 1800, False)
    ]


async def test_a_clock_that_is_a_day_ahead_removes_no_token_that_is_in_force() -> None:
    epochs = Epochs()
    right, ahead = Service(epochs, 0.0), Service(epochs, 86_400.0)
    for number in range(MAX_TOKENS - 1):
        await right.issue(number)
    await right.issue(MAX_TOKENS - 1, 3600)
    with pytest.raises(Exception, match="256 tokens are in force"):
        await ahead.issue(MAX_TOKENS)
    assert len(epochs.topology.access.tokens) == MAX_TOKENS
