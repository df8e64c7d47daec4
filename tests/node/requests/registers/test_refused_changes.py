"""A change of a register that is told as refused was not made and never will be (R1, R3)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import ABSENT, Cas, Incr
from ringmill.cluster.consensus.register_codec import decode_register, encode_register
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.ids import KeyspaceId, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE, RegisterAnswer, RegisterRequest
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.requests.registers.rounds import Rounds
from tests.node.small_world import World

KEY = b"leader"
WHERE = RegisterRead("", KEY, timeout_s=5)


class Proposer:
    """Another one, whose messages reach only those whom a test names."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def tell(self, method: str, of: str, counter: int, value: bytes = b"") -> RegisterAnswer:
        ballot = Ballot(counter, NodeId("other"), 1, "")
        request = RegisterRequest(self._world.topology.epoch, KeyspaceId(1, 1), KEY, ballot, value)
        transport = self._world.nodes[of].core.transport
        body = await self._world.on(
            of, transport.call(NodeId(of), method, request.encode(), timeout_s=5, priority=Priority.WRITE)
        )
        return RegisterAnswer.decode(body)


def before_rounds(world: World, name: str, steps: dict[int, Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Have something happen before the named rounds of a coordinator, counted from 1."""
    rounds: Rounds = world.nodes[name].requests._registers._rounds
    ask, count = rounds.ask, 0

    async def slowed(*named: Any, **given: Any) -> RoundTally:
        nonlocal count
        count += 1
        if count in steps:
            await steps[count]()
        return await ask(*named, **given)

    rounds.ask = slowed  # type: ignore[method-assign]


def change(change: Cas | Incr, sequence: int) -> ChangeRequest:
    return ChangeRequest(WHERE, change, OperationId(1, sequence, HybridTime(0)))


@pytest.mark.parametrize(
    ("first", "between", "asked"),
    [(b"a", b"b", Cas(b"b", b"c")), (b"text", b"4", Incr(1))],
    ids=["cas", "incr"],
)
def test_one_that_a_single_owner_has_accepted_is_refused_only_once_it_is_dead(
    first: bytes, between: bytes, asked: Cas | Incr
) -> None:
    """It fitted a value that one owner alone had, and was accepted by that owner alone.  The others hold what
    was before, all under one ballot, which refuses it."""
    world = World()

    async def story() -> None:
        other = Proposer(world)
        present = await world.on(
            "n3", world.nodes["n3"].requests.change_register(change(Cas(ABSENT, first), 1))
        )
        register = decode_register(encode_register(decode_register(b"")._replace(version=2, value=between)))
        for owner in ("n1", "n2"):
            assert not (await other.tell(PREPARE, owner, 100)).refused_counter
        assert not (await other.tell(ACCEPT, "n1", 100, encode_register(register))).refused_counter

        async def only_the_first() -> None:
            world.cut("n3", "n2")

        async def a_third_one_begins() -> None:
            assert not (await other.tell(PREPARE, "n3", 200)).refused_counter

        async def only_the_second() -> None:
            world.cut("n3", "n2", is_cut=False)
            world.cut("n3", "n1")

        # 1: preempted by ballot 100; 2: promised; 3: accepted by n1 alone; 4: promised by n2 and n3
        before_rounds(world, "n3", {1: only_the_first, 3: a_third_one_begins, 4: only_the_second})
        with pytest.raises(RingmillError) as told:
            await world.on("n3", world.nodes["n3"].requests.change_register(change(asked, 2)))
        assert told.value.outcome == "failed", told.value
        world.cut("n3", "n1", is_cut=False)
        world.cut("n1", "n3")
        found = await world.on("n1", world.nodes["n1"].requests.read_register(WHERE))
        assert (found.version, found.value) == (present.version, first), told.value

    world.run(story())


def test_one_that_is_born_after_all_clocks_is_refused() -> None:
    """Else the register forgets every change that is not as new."""
    world = World()

    async def story() -> None:
        node = world.nodes["n1"]
        node.hybrid.expiry_follows(node.hybrid.offset_ms)
        forged = change(Incr(1), 1)._replace(operation=OperationId(1, 1, HybridTime(2**64 - 1)))
        with pytest.raises(InvalidArgument, match="more than a day ahead"):
            await world.on("n1", node.requests.change_register(forged))
        assert (await world.on("n1", node.requests.read_register(WHERE))).version == 0

    world.run(story())
