"""A stop ends before it is killed, whoever hangs, and leaves its hints."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.leaving import end_service
from ringmill.node.lifecycle import STOP_LIMIT_S
from ringmill.node.requests.request_values import WriteRequest
from tests.node.small_world import World


class Hanging:
    """Uses up all the time that it is given."""

    def __init__(self) -> None:
        self.given_s = dict[str, float]()

    def say_leaving(self) -> int:
        return 1

    def end_watches(self) -> None:
        pass

    async def drain(self, timeout_s: float) -> None:
        await self._use("drain", timeout_s)

    async def set_ready(self, is_ready: bool) -> None:
        pass

    async def stop(self, *, grace_s: float) -> None:
        await self._use("stop", grace_s)

    async def leave(self) -> None:
        await asyncio.sleep(100)

    async def _use(self, stage: str, seconds: float) -> None:
        self.given_s[stage] = seconds
        await asyncio.sleep(seconds)


def test_a_stop_whose_peer_hangs_leaves_its_hint_and_ends_in_time() -> None:
    world = World()

    async def story() -> None:
        n1, hanging = world.nodes["n1"], Hanging()
        world.loop.pause(world.nodes["n3"].process)
        put = WriteRequest("", b"k", b"v", WriteOptions("all", timeout_s=30.0))
        under_way = asyncio.ensure_future(world.on("n1", n1.requests.write(put)))
        await asyncio.sleep(0.1)
        begun_at = world.loop.time()
        membership = SimpleNamespace(liveness=hanging)
        node = SimpleNamespace(core=n1.core, requests=hanging, membership=membership, jobs=hanging)
        stop = end_service(cast("Any", node), hanging, hanging, limit_s=STOP_LIMIT_S)
        await world.on("n1", stop)
        assert all(seconds >= 0.5 for seconds in hanging.given_s.values()), "each stage has something"
        await world.stop("n1")
        assert world.loop.time() - begun_at <= STOP_LIMIT_S - 1.0, "a second is left for the store"
        under_way.cancel()
        n1 = await world.start("n1")
        assert n1.hints.counts() == {"n3": 1}

    world.run(story())
