"""A node that meets a full disk ends, or does not acknowledge the write, and neither is a bug of the node."""

from collections.abc import Awaitable, Callable

import pytest

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.requests.request_values import WriteRequest
from ringmill.simulator.disk.start_files import NodeDisk
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import quiet
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import draw_tunables
from ringmill.simulator.world.world import World


def bugs_of(story: Callable[[World], Awaitable[None]]) -> list[str]:
    """The bugs of a small cluster to which something happened."""
    with quiet():
        return _bugs_of(story)  # which alone keeps its world, for `quiet` to collect


def _bugs_of(story: Callable[[World], Awaitable[None]]) -> list[str]:
    world = World(1, SimulationOptions(nodes=3), draw_tunables(stream(1, "tunables")))

    async def formed() -> None:
        await world.form()
        await story(world)

    try:
        world.loop.run_until_complete(formed())
        return [type(error).__name__ for error in world.bugs()]
    finally:
        world.loop.drop_everything()


async def start_on_a_full_disk(world: World) -> None:
    node = world.nodes["n1"]
    node.kill(None)
    node.disk.lossy.capacity = node.disk.lossy.used
    node.start()
    with pytest.raises(RuntimeError, match="ended while it started"):
        await node.up()


async def write_on_full_disks(world: World) -> None:
    for each in world.nodes.values():
        each.disk.lossy.capacity = each.disk.lossy.used
    node = world.nodes["n1"]
    requests = (await node.up()).requests
    for number in range(40):
        try:
            await node.inside(
                requests.write(WriteRequest("", b"key %d" % number, bytes(1000), WriteOptions()))
            )
        except RingmillError:
            return
    pytest.fail("40 writes found room on disks that are full")


def test_a_node_that_finds_its_disk_full_at_a_start_ends_and_that_is_not_a_bug() -> None:
    assert bugs_of(start_on_a_full_disk) == []


def test_a_write_that_meets_full_disks_is_not_acknowledged_and_that_is_not_a_bug() -> None:
    assert bugs_of(write_on_full_disks) == []


def test_a_start_that_ends_on_a_disk_with_room_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NodeDisk, "may_end_a_start", property(lambda disk: False))
    assert bugs_of(start_on_a_full_disk) != []
