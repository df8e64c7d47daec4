"""Whatever is sent to a node's port, its sender gets one typed error, and nothing else happens."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from random import Random
from typing import Any

import msgpack
import pytest

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import Actor, NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.core import Core
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import quiet
from ringmill.simulator.world.tunables import Tunables, draw_tunables
from ringmill.simulator.world.world import World

BODIES = 250
OBJECT = encode_object(StoredObject(VersionVector((Dot(Actor("n2#1.0"), 1),))))
NO_PARTITION, NO_ORDINAL = 1 << 40, 1 << 40
TOO_LARGE = (  # well-formed, but for a number: attempts of a partition, a hint and a watch of a keyspace
    ["attempt", 1, [NO_PARTITION]], ["attempt", 2, [NO_PARTITION]], [[[NO_PARTITION, "attempt"]]],
    [1, "attempt", [[NO_PARTITION, "token"]]], [1, [[1, NO_ORDINAL, b"key", OBJECT]]],
    [1, [[1, NO_ORDINAL, b"{tag}", OBJECT]]], [1, [[0, 0, b"{tag}", OBJECT]]],
    [1, NO_ORDINAL, b"prefix", b"", 0, 10, 10],
)  # fmt: skip
FIXED = (b"", b"\xc1", b"\xff" * 40, b"\x91" * 3000, b"\xdd\xff\xff\xff\xff", b"text")


def anything(draws: Random, depth: int = 0) -> Any:
    """A value of any shape that msgpack can hold."""
    if depth < 3 and draws.random() < 0.4:
        items = [anything(draws, depth + 1) for _ in range(draws.randrange(9))]
        return items if draws.random() < 0.8 else {"a": items}
    known: tuple[Any, ...] = (0, 1, 2, -1, 1 << 40, (1 << 64) - 1, 0.5, None, True, False)
    known += ("", "n1", "map", "reduce", "sync", "x" * 300, "0" * 64, b"", b"k", draws.randbytes(20))
    known += ([1, "job", ["map", 1, 1], "n2", b"spec", 1, [], "/staging"][: draws.randrange(9)],)
    return draws.choice(known)


def bodies(seed: int) -> list[bytes]:
    draws = Random(seed)
    return [*FIXED, *map(msgpack.packb, TOO_LARGE), *(msgpack.packb(anything(draws)) for _ in range(BODIES))]


def ask_everything(seed: int, tunables: Tunables) -> tuple[set[str], dict[str, str]]:
    """The methods of a node, and what they raised that is no error of ours."""
    world = World(seed, SimulationOptions(nodes=3, faults=()), tunables)
    untyped: dict[str, str] = {}
    asked: set[str] = set()

    async def ask(handler: Any, method: str, body: bytes) -> None:
        async with asyncio.timeout(0.5):
            deadline = world.nodes["n1"].clock.boottime() + 0.5
            answer = handler(Incoming(NodeId("n2"), method, body, deadline, Priority.WRITE))
            if isawaitable(answer):
                await answer

    async def ask_batch(core: Core, method: str, body: bytes) -> None:
        await core.transport.call(core.node, method, body, timeout_s=0.5, priority=Priority.WRITE)

    async def story() -> None:
        await world.form()
        n1 = world.nodes["n1"]
        assert n1.current is not None
        assert n1.current.node is not None
        handlers, core = n1.current.transport._handlers, n1.current.node.core
        for method in sorted({*handlers, *n1.current.transport._batch_handlers}):
            asked.add(method)
            for body in bodies(seed):
                try:
                    if method in handlers:
                        await n1.inside(ask(handlers[method], method, body))
                    else:
                        await n1.inside(ask_batch(core, method, body))
                except (RingmillError, TimeoutError):
                    continue
                except Exception as error:  # noqa: BLE001 - what it is, is what the test shows
                    untyped[f"{method} {type(error).__name__}"] = f"{error} for {body[:60]!r}"

        marks = n1.current.node.replica.watermarks.known()
        assert max(marks, default=0) < world.topology.partitions, "its rounds look at the row of each"

    world.loop.run_until_complete(story())
    assert not world.bugs()
    world.loop.drop_everything()
    return asked, untyped


@pytest.mark.parametrize("seed", [1, 2])
def test_every_method_refuses_rubbish_as_one_typed_error(seed: int) -> None:
    tunables = draw_tunables(Random(seed))
    with quiet():
        asked, untyped = ask_everything(seed, tunables)
    assert untyped == {}
    assert {
        "replica.apply",
        "hint.deliver",
        "forward.put",
        "forward.delete",
        "forward.touch",
        "swim.ping",
        "kv.put",
        "kv.touch",
        "task.start",
        "jobs.PutBundle",
    } <= asked
