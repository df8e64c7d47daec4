"""Requests on one register take turns at their coordinator, and none waits past its deadline (D1)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import permutations

import pytest

from ringmill.cluster.consensus.acceptor import AcceptorState
from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.errors import DeadlineExceeded, RingmillError
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from ringmill.simulator.patching import method, patched
from tests.node.small_world import World


@pytest.mark.parametrize(("attempt", "outcome"), [(0, "failed"), (1, "unknown")])
def test_one_whose_turn_does_not_come_ends_with_its_deadline(attempt: int, outcome: str) -> None:
    world = World()

    async def incr(sequence: int, timeout_s: float, attempt: int = 0) -> RegisterResult:
        where, operation = RegisterRead("", b"hits", timeout_s), OperationId(1, sequence, HybridTime(0))
        request = ChangeRequest(where, Incr(1), operation, attempt)
        return await world.on("n1", world.nodes["n1"].requests.change_register(request))

    async def story() -> None:
        await incr(1, 5)
        for other in ("n2", "n3"):
            world.cut("n1", other)
        long = asyncio.ensure_future(incr(2, 60))
        await asyncio.sleep(0.1)
        began = world.loop.time()
        with pytest.raises(DeadlineExceeded) as told:
            await incr(3, 1, attempt)
        assert told.value.outcome == outcome
        assert world.loop.time() - began < 2, "it waited for the one before"
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        await asyncio.gather(long, return_exceptions=True)
        assert (await incr(4, 5)).number == 2, "the turn was passed on"

    world.run(story())


def test_an_owner_whose_disk_takes_too_long_promises_nothing_to_whoever_waits_no_more() -> None:
    """Else those who ask anew wait behind their own former questions, and no register is changed any more."""
    world, taken = World(), []
    raise_ceiling, put = RegisterStore.raise_ceiling, RegisterStore._put

    async def raise_slowly(store: RegisterStore, counter: int) -> None:
        await asyncio.sleep(3.0)
        await raise_ceiling(store, counter)

    def note_and_put(store: RegisterStore, key: bytes, state: AcceptorState) -> None:
        taken.append(state)
        put(store, key, state)

    async def story() -> None:
        where, operation = RegisterRead("", b"hits", 2.0), OperationId(1, 1, HybridTime(0))
        request = ChangeRequest(where, Incr(1), operation)
        with pytest.raises(RingmillError):
            await world.on("n1", world.nodes["n1"].requests.change_register(request))
        await asyncio.sleep(30.0)
        assert not taken

    slow = method(RegisterStore.raise_ceiling, raise_slowly), method(RegisterStore._put, note_and_put)
    with patched(*slow):
        world.run(story())


def test_coordinators_that_are_far_apart_leave_each_other_the_time_of_a_round() -> None:
    world = World()

    async def changes(name: str, until: float) -> int:
        done = sequence = 0
        while world.loop.time() < until:
            sequence += 1
            operation = OperationId(int(name[1:]), sequence, HybridTime(0))
            request = ChangeRequest(RegisterRead("", b"hits", 5.0), Incr(1), operation, 0)
            with suppress(RingmillError):
                await world.on(name, world.nodes[name].requests.change_register(request))
                done += 1
        return done

    async def story() -> None:
        for one, other in permutations(world.names, 2):
            world.network.link(one, other).latency_s = 0.15
        until = world.loop.time() + 60
        assert sum(await asyncio.gather(*(changes(name, until) for name in world.names))) > 80

    world.run(story())
