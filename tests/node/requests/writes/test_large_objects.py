"""An object that merging has made larger than clients may: it crosses, is read, and grows no more (V5)."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_VALUE_BYTES
from tests.node.one_key import get, put, values
from tests.node.small_world import World

_NEARLY_A_MIB = MAX_VALUE_BYTES - 10_000


async def write_apart(world: World) -> list[bytes]:
    """Each of three owners takes 4 MiB while it sees nobody; then they see each other again."""
    pairs = (("n1", "n2"), ("n1", "n3"), ("n2", "n3"))
    for one, other in pairs:
        world.cut(one, other)
    written = []
    for node in world.names:
        for number in range(4):
            written.append(f"{node} {number} ".encode() + bytes(_NEARLY_A_MIB))
            await put(world, node, written[-1], is_blind=True, level="one")
        with pytest.raises(InvalidArgument, match=r"siblings would take 5.* the limit is 4194304 bytes"):
            await put(world, node, bytes(_NEARLY_A_MIB), is_blind=True, level="one")
    for one, other in pairs:
        world.cut(one, other, is_cut=False)
    return written


def test_siblings_of_all_sides_of_a_split_cross_and_are_read() -> None:
    world = World()

    async def story() -> None:
        written = set(await write_apart(world))
        read = await get(world, "n2", "all")
        assert set(values(read)) == written
        for name in world.names:
            assert set(values(await get(world, name, "one"))) == written
        await put(world, "n3", b"merged", context=read.context)
        assert values(await get(world, "n1")) == [b"merged"]

    world.run(story())


def test_a_large_object_grows_no_further_whatever_its_number_of_siblings() -> None:
    """Else a hundred small siblings of both sides could each be replaced by a large one."""
    world = World()

    async def story() -> None:
        small = await put(world, "n1", b"small", is_blind=True)
        await write_apart(world)
        await get(world, "n1", "all")
        with pytest.raises(InvalidArgument, match=r"13 siblings .*, 5.* of them written by this node"):
            await put(world, "n1", bytes(_NEARLY_A_MIB), context=small.context)
        await put(world, "n1", b"", context=small.context)
        assert len(values(await get(world, "n1"))) == 13

    world.run(story())
