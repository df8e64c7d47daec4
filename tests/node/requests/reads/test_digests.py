"""Large objects: one owner tells the object, the others its digest (rule G6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from ringmill.cluster.errors import ProtocolMismatch, Unavailable
from ringmill.cluster.ports import Arrival
from ringmill.node.node_options import NodeOptions, ReplicaOptions
from ringmill.simulator.world.network import Network
from tests.node.one_key import get, lone_write, put, values
from tests.node.small_world import World

LARGE = bytes(range(256)) * 256  # 64 KiB


class Bytes:
    """Counts what crosses between nodes."""

    def __init__(self) -> None:
        self.sent = 0

    def __enter__(self) -> Bytes:
        counter, send = self, Network.send

        def counted(
            network: Network, source: str, target: str, payload: bytes, *rest: Any, **given: Any
        ) -> None:
            counter.sent += len(payload)
            send(network, source, target, payload, *rest, **given)

        self._patch = patch.object(Network, "send", counted)
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


def places(world: World) -> tuple[list[str], str]:
    """The owners of the key, and the node that is none."""
    owners = [*world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))]
    (other,) = [name for name in world.names if name not in owners]
    return [*owners], other


def bytes_of_a_read(at: int, options: NodeOptions | None = None) -> int:
    """Read from three owners, at the first of them or at the node after them."""
    world = World(4, options=options)
    owners, other = places(world)

    async def story() -> int:
        await put(world, owners[0], LARGE, level="3")
        with Bytes() as crossed:
            assert values(await get(world, [*owners, other][at], level="3")) == [LARGE]
        return crossed.sent

    return world.run(story())


def test_owners_that_agree_send_a_large_object_once_or_not_at_all() -> None:
    whole = NodeOptions(replica=ReplicaOptions(most_whole_bytes=2 * len(LARGE)))
    assert bytes_of_a_read(0) < 1000
    assert bytes_of_a_read(0, whole) > 2 * len(LARGE)
    assert bytes_of_a_read(3) < len(LARGE) + 2000
    assert bytes_of_a_read(3, whole) > 3 * len(LARGE)


@pytest.mark.parametrize("at", ["n1", "n2"])
def test_a_digest_that_differs_does_not_count_and_its_owner_is_repaired(at: str) -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", LARGE, level="3")
        await lone_write(world, "n1", LARGE + b"new")
        read = await get(world, at, level="3")
        assert values(read) == [LARGE + b"new"] and len(read.answered) == 3
        world.kill("n1")
        assert values(await get(world, "n2")) == [LARGE + b"new"]

    world.run(story())


def test_a_digest_answers_for_a_delete_and_for_siblings_as_for_a_value() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", LARGE, level="3")
        await put(world, "n2", LARGE + b"2", level="3", is_blind=True)
        with Bytes() as crossed:
            assert sorted(map(bytes, filter(None, values(await get(world, "n3", level="3"))))) == [
                LARGE,
                LARGE + b"2",
            ]
        assert crossed.sent < 1000
        await put(world, "n1", None, level="3")
        assert values(await get(world, "n3", level="3")) == []

    world.run(story())


@pytest.mark.parametrize("fails", ["n2", "n3"])
def test_whoever_dies_after_a_digest_is_replaced(fails: str) -> None:
    """The digest of n2 and n3 differs from what n1 tells; one of them dies before it tells its object."""
    world = World()

    async def story() -> None:
        await put(world, "n1", LARGE, level="3")
        await lone_write(world, "n1", LARGE + b"new")

        def refuse(arrivals: Sequence[Arrival]) -> None:
            for arrival in arrivals:
                arrival.fail(Unavailable("it dies just now"))

        world.nodes[fails].core.transport.serve_batch("replica.read", refuse)
        read = await get(world, "n1")
        assert values(read) == [LARGE + b"new"]
        assert len(read.answered) >= 2

    world.run(story())


def test_an_owner_of_an_earlier_release_tells_its_object() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", LARGE, level="3")

        def unknown(arrivals: Sequence[Arrival]) -> None:
            for arrival in arrivals:
                arrival.fail(ProtocolMismatch("does not serve replica.digest"))

        for name in ("n2", "n3"):
            world.nodes[name].core.transport.serve_batch("replica.digest", unknown)
        for _ in range(2):
            read = await get(world, "n1", level="3")
            assert values(read) == [LARGE] and len(read.answered) == 3

    world.run(story())


def test_the_one_that_was_to_tell_its_object_dies_and_another_one_tells_it() -> None:
    world = World(4)
    owners, other = places(world)

    async def story() -> None:
        await put(world, owners[0], LARGE, level="3")
        world.cut(other, owners[0])  # the nearest is silent
        began = world.loop.time()
        read = await get(world, other)
        assert values(read) == [LARGE] and owners[0] not in read.answered
        assert world.loop.time() - began < 1.0
        world.cut(other, owners[0], is_cut=False)
        world.kill(owners[1])
        assert values(await get(world, other)) == [LARGE]

    world.run(story())
