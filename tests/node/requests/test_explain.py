"""A read that tells how it went: the same read, and what it noted is what happened."""

from __future__ import annotations

from ringmill.cluster.ids import PartitionId
from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet
from tests.node.one_key import get, put, read_request, values
from tests.node.small_world import World


async def explain(world: World, at: str, level: str = "", timeout_s: float = 0.0) -> ExplainedGet:
    requests = world.nodes[at].requests
    return await world.on(at, requests.explain(read_request(b"key", level, timeout_s)))


def owners_where(told: ExplainedGet, name: str) -> list[str]:
    return sorted(owner.node for owner in told.owners if getattr(owner, name))


def test_it_names_who_was_asked_and_what_each_holds() -> None:
    world = World(4)

    async def story() -> None:
        receipt = await put(world, "n1", b"v", level="all")
        told = await explain(world, "n4")
        assert (told.coordinator, told.keyspace, told.r, told.values) == ("n4", "default", 2, 1)
        assert [owner.node for owner in told.owners] == list(
            world.topology.owners(PartitionId(told.partition))
        )
        assert len(owners_where(told, "asked")) == 2
        assert owners_where(told, "answered") == owners_where(told, "same") == owners_where(told, "asked")
        assert {dot for owner in told.owners for dot in owner.dots} == {str(receipt.dot)}
        assert len(owners_where(await explain(world, "n1", "all"), "same")) == 3

    world.run(story())


def test_it_tells_of_what_it_repaired_and_the_next_one_finds_nothing_to_repair() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"old", level="all")
        world.cut("n1", "n3")
        world.cut("n2", "n3")
        await put(world, "n1", b"new")
        world.nodes["n1"].liveness.states.clear()
        for name in ("n1", "n2"):
            world.cut(name, "n3", is_cut=False)
        told = await explain(world, "n1", "all")
        assert (owners_where(told, "written_back"), told.values) == (["n3"], 1)
        assert owners_where(told, "same") == ["n1", "n2"]
        assert owners_where(told, "hinted") in ([], ["n3"])
        again = await explain(world, "n2", "all")
        assert owners_where(again, "written_back") == []
        assert values(await get(world, "n3")) == [b"new"]

    world.run(story())


def test_a_silent_owner_and_a_read_that_fails_are_reported() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"v", level="all")
        asked = owners_where(await explain(world, "n1"), "asked")
        (second,) = (name for name in asked if name != "n1")
        (third,) = (name for name in world.names if name not in asked)
        world.cut("n1", second)
        told = await explain(world, "n1")
        assert owners_where(told, "silent") == [second]
        assert owners_where(told, "answered") == sorted(["n1", third])
        world.cut("n1", third)
        failed = await explain(world, "n1", timeout_s=0.5)
        assert "get" in failed.error
        assert owners_where(failed, "answered") == ["n1"]

    world.run(story())
