"""A keyspace is told that its values do not expire by a ttl of 0, whatever kind of time that is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.arguments import Seconds
from ringmill.client.routing.router import Router
from ringmill.cluster.wire.stubs import keyspaces_pb2 as pb


class Asked:
    """In the place of a router: all settings are as they are asked for."""

    timeout_s = 5.0

    def __init__(self) -> None:
        self.ttl_ms: list[int] = []
        self.directory = self

    async def ask(self, _method: object, prepare: Any, **_: Any) -> Any:
        request = prepare(1, 1000, 0)
        if isinstance(request, pb.ListKeyspacesRequest):
            return pb.ListKeyspacesResponse(keyspaces=[pb.KeyspaceSettings(name="a")])
        self.ttl_ms.append(request.ttl_ms)
        return pb.KeyspaceAnswer(settings=pb.KeyspaceSettings(name="a", ttl_ms=request.ttl_ms))

    async def catch_up(self, _epoch: int, _left_s: float) -> None:
        pass


@pytest.mark.parametrize(
    ("ttl", "asked_ms"), [(0, 0), (0.0, 0), (timedelta(0), 0), (timedelta(1), 86_400_000)]
)
async def test_a_ttl_of_0_means_no_ttl(ttl: Seconds, asked_ms: int) -> None:
    router = Asked()
    await AsyncKeyspaces(cast("Router", router)).alter("a", ttl=ttl)
    assert router.ttl_ms == [asked_ms]
