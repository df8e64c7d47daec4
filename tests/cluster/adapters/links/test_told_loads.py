"""A node tells with its answers how much it has under way, to those who take that; they read elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ringmill.cluster.adapters.network.answered_stream import Dialler
from ringmill.cluster.adapters.network.answering import Answering
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.told_loads import LATELY_S, ToldLoads, load_of
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.cluster.ports import Priority
from ringmill.cluster.wire.frames import decode_loaded, encode_operations
from ringmill.node.requests.owners.nearest import nearest_first
from tests.node.one_key import get, put
from tests.node.requests.arrivals import asked_by
from tests.node.small_world import World

N1, N2, N3, N4 = (NodeId(f"n{number}") for number in range(1, 5))


def half_full() -> Gate:
    """A gate at which half of what may be under way is."""
    options = WorkLimitOptions(first_limit=8, least_limit=8, most_limit=8)
    gate = Gate("n2", SystemClock(), options)
    for _ in range(4):
        gate._enter(gate._lines[Priority.READ], lambda arrivals: None, [_Forever()])  # type: ignore[list-item]
    return gate


class _Forever:
    body = b""
    on_end = None
    span = None


async def test_a_node_knows_who_has_much_to_do(nodes: Any) -> None:
    n1, n2 = [await nodes.start(name) for name in (N1, N2)]
    n2.admit_by(half_full())
    n2.serve("some.thing", lambda incoming: b"")
    assert n1.busy() == {}
    await n1.call(N2, "some.thing", b"", timeout_s=5.0, priority=Priority.READ)
    assert n1.busy() == {"n2": 1}
    n2.admit_by(Gate("n2", SystemClock(), WorkLimitOptions()))
    await n1.call(N2, "some.thing", b"", timeout_s=5.0, priority=Priority.READ)
    assert n1.busy() == {}


@pytest.mark.parametrize("takes_load", [False, True])
async def test_a_side_of_an_earlier_release_is_told_nothing(memory_streams: Any, takes_load: bool) -> None:
    ours, theirs = memory_streams
    async with asyncio.TaskGroup() as group:
        answering = Answering({"kv.get": lambda incoming: b""}, name="n2", clock=SystemClock(), group=group)
        answering.gate = half_full()
        dialler = Dialler(NodeId(""), "kv.", Priority.WRITE, takes_load=takes_load)
        serving = group.create_task(answering.serve(theirs, dialler))
        await ours.write(encode_operations([(1, "kv.get", 1_000_000, int(Priority.READ), b"")], 0))
        frame = await ours.read()
        serving.cancel()
        await answering.close()
    _, _, load = decode_loaded(frame)
    assert load == (127 if takes_load else None)


def test_quarters_count_for_a_second() -> None:
    loads = ToldLoads()
    for name, load in (("n1", 63), ("n2", 64), ("n3", 250)):
        loads.heard(name, load, 1.0)
    assert loads.quarters(1.5) == {"n2": 1, "n3": 3}
    loads.heard("n3", 0, 1.6)
    assert loads.quarters(1.7) == {"n2": 1}
    assert loads.quarters(1.1 + LATELY_S) == {}
    assert not loads._quarters, "one that is gone is not kept"
    assert [load_of(units, 128.0) for units in (0, 64, 128, 9000)] == [0, 127, 255, 255]


def test_each_is_forgotten_a_second_after_it_told_that_last() -> None:
    loads = ToldLoads()
    for name, now in (("n1", 1.0), ("n2", 1.5), ("n3", 1.2), ("n1", 1.6)):
        loads.heard(name, 128, now)
    assert [sorted(loads.quarters(now + LATELY_S)) for now in (1.1, 1.2, 1.4, 1.5, 1.6)] == [
        ["n1", "n2", "n3"],
        ["n1", "n2"],
        ["n1", "n2"],
        ["n1"],
        [],
    ]
    loads.heard("n4", 128, 9.0)
    assert loads.quarters(9.5) == {"n4": 2}


class Near:
    """The nearer ones first; else in the given order."""

    def __init__(self, *near: NodeId) -> None:
        self._near = near

    def nearest_first(self, nodes: Sequence[NodeId]) -> Sequence[NodeId]:
        return sorted(nodes, key=lambda node: node not in self._near)

    def is_up(self, node: NodeId) -> bool:
        return True


def test_of_those_that_are_equally_near_who_has_less_to_do_is_asked_first() -> None:
    def order(liveness: Near, **busy: int) -> list[NodeId]:
        return list(nearest_first(liveness, N1, [N1, N2, N3, N4], busy=busy))  # type: ignore[arg-type]

    assert order(Near()) == [N1, N2, N3, N4]
    assert order(Near(), n2=2, n3=1) == [N1, N4, N3, N2]
    assert order(Near(N2, N3), n2=3) == [N1, N3, N2, N4], "not one that is further away"
    assert order(Near(), n1=3) == [N1, N2, N3, N4], "its own copy costs no message"


def test_a_read_asks_the_owner_that_has_less_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"v", level="3")
        asked = asked_by(world.nodes["n1"], monkeypatch)
        for busy, idle in (("n2", "n3"), ("n3", "n2")):
            world.nodes[busy].transport.load = lambda: 200
            world.nodes[idle].transport.load = lambda: 30
            await get(world, "n1", level="3")
            asked.clear()
            for _ in range(5):
                await get(world, "n1")
            assert {to for to, _ in asked} == {idle}

    world.run(story())
