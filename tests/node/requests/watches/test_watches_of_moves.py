"""A watch of a prefix keeps its places while partitions move, and looks at all keys once they have (N4)."""

from __future__ import annotations

import asyncio

from ringmill.cluster.ids import NodeId
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.node.requests.watches.prefix_watches import PrefixNews, PrefixRequest
from tests.node.moves.test_new_copies import KEYS, NAMES, again, change, turned
from tests.node.repair.healing_world import HealingWorld, run


def test_a_watch_looks_at_all_keys_once_for_each_node_that_copies_move_to() -> None:
    """What comes to a node is far more than its feed reaches back to."""
    looks = 0

    async def story(world: HealingWorld) -> None:
        nonlocal looks
        for name in NAMES:
            world[name].replica.objects.feed._most_keys = 2
        for number, key in enumerate(KEYS):
            await world.put(NAMES[number % 4], key, b"v%d" % number, "all")

        async def poll(cursor: bytes) -> PrefixNews:
            request = PrefixRequest("", b"", cursor, ReadOptions("", 0.5), connection="c")
            return await again(lambda: world.inside("n1", world[NodeId("n1")].requests.watch_prefix(request)))

        cursor = (await poll(b"")).cursor
        await change(world, turned)
        is_moving, quiet = True, 0
        while is_moving or quiet < 3:
            news = await poll(cursor)
            cursor, quiet = news.cursor, 0 if news.unscanned else quiet + 1
            looks += bool(news.unscanned)
            is_moving = world.world.topology.is_moving
            await asyncio.sleep(0.1)

    run(story, nodes=4)
    assert 1 <= looks <= len(NAMES)
