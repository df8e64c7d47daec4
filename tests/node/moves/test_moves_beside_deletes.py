"""A partition in which deletes were forgotten moves with all that was not deleted."""

from __future__ import annotations

from ringmill.node.node_options import PurgeOptions
from tests.node.moves.test_new_copies import NAMES, change, get, turned, until
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%03d" % number for number in range(40)]
SOON = PurgeOptions(after_s=5.0, every_s=0.5, settle_s=1.0, least_garbage_bytes=1)


def test_what_is_older_than_the_watermark_moves_too() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(NAMES[number % 4], key, b"v%d" % number, "all")
        for key in KEYS[::2]:
            await world.delete("n1", key, "all")
        await until(lambda: all(not world[name].replica.objects.dead.total for name in NAMES))
        for _ in range(4):
            await change(world, turned)
            await until(lambda: not world.world.topology.is_moving)
        for number, key in enumerate(KEYS):
            assert await get(world, NAMES[number % 4], key) == ([b"v%d" % number] if number % 2 else []), key

    run(story, nodes=4, purge=SOON)
