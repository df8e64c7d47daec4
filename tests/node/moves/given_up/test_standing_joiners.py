"""A plan whose joiner is up and comes no further is given up by itself, and a slow one never (rule M7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ports import Incoming, Transport
from ringmill.cluster.ring.joiners.standing_joiners import STANDS_S, StandingJoiners
from ringmill.cluster.ring.moves import advanced, paused
from ringmill.cluster.ring.topology import Topology
from ringmill.node.moves import giving_up
from ringmill.node.moves.fill_steps import STEPS, FillSteps, ask_steps
from ringmill.node.moves.giving_up import GivingUp
from ringmill.node.replica.stored_key import Copy
from tests.node.moves.given_up.test_giving_up import JOINER, Cluster, joining, up_but

COPY = Copy(PartitionId(3), Epoch(2))
NAMED = "n4, which joins partitions, is up and has come no further for 600 s: the disk is full"


def test_a_joiner_that_stands_still_for_ten_minutes_is_named() -> None:
    joiners, topology = StandingJoiners(), joining()
    assert joiners.look(topology, {JOINER: 7}, 0.0) is None
    assert joiners.look(topology, {JOINER: 7}, STANDS_S - 1) is None
    assert joiners.look(topology, {JOINER: 7}, STANDS_S, later_s=10) is None, "another one says so first"
    found = joiners.look(topology, {JOINER: 7}, STANDS_S)
    assert found is not None and found[0] == JOINER


def test_a_joiner_that_is_slow_and_moves_is_never_named() -> None:
    joiners, topology = StandingJoiners(), joining()
    for step in range(100):
        assert joiners.look(topology, {JOINER: step}, step * (STANDS_S - 1)) is None


def test_a_move_that_has_gone_on_or_a_joiner_that_has_started_again_counts_from_then_on() -> None:
    joiners, topology = StandingJoiners(), joining()
    seat = topology.member(JOINER).seat
    further = advanced(
        topology, seat, filled={PartitionId(0): topology.rows[0].row_epoch}, adopted={}, most=8
    )
    joiners.look(topology, {JOINER: 7}, 0.0)
    assert further is not None
    assert joiners.look(further, {JOINER: 7}, STANDS_S) is None
    assert joiners.look(further, {JOINER: 0}, 2 * STANDS_S - 1) is None
    assert joiners.look(further, {JOINER: 0}, 3 * STANDS_S - 2) is None
    assert joiners.look(further, {JOINER: 0}, 3 * STANDS_S - 1) is not None


def test_one_that_does_not_tell_is_not_judged() -> None:
    joiners, topology = StandingJoiners(), joining()
    joiners.look(topology, {JOINER: 7}, 0.0)
    assert joiners.look(topology, {}, STANDS_S) is None
    assert joiners.look(topology, {JOINER: 7}, STANDS_S + 1) is None, "it counts from now on"


@pytest.mark.parametrize(
    ("down", "asked"),
    [((), [JOINER]), (("n1",), [JOINER]), ((JOINER,), []), (("n1", "n2"), [])],
    ids=["all up", "sources enough", "the joiner is down", "too few sources"],
)
def test_only_a_joiner_that_could_go_on_is_asked(down: tuple[str, ...], asked: list[NodeId]) -> None:
    assert StandingJoiners().to_ask(joining(), up_but(*down)) == asked


def test_a_joiner_that_is_filled_waits_for_others() -> None:
    topology = joining()
    filled = {PartitionId(at): row.row_epoch for at, row in enumerate(topology.rows) if row.is_joint}
    whole = advanced(topology, topology.member(JOINER).seat, filled=filled, adopted={}, most=0)
    assert whole is not None
    assert StandingJoiners().to_ask(whole, up_but()) == []


def held(topology: Topology, *, is_paused: bool = True) -> Topology:
    after = paused(topology, is_paused=is_paused)
    assert after is not None
    return after


def test_a_plan_that_is_paused_is_not_given_up_and_counts_from_its_resumption() -> None:
    joiners, topology = StandingJoiners(), held(joining())
    assert joiners.to_ask(topology, up_but()) == []
    assert joiners.look(topology, {JOINER: 7}, 0.0) is None
    assert joiners.look(topology, {JOINER: 7}, STANDS_S) is None
    resumed = held(topology, is_paused=False)
    assert joiners.look(resumed, {JOINER: 7}, STANDS_S + 1) is None
    assert joiners.look(resumed, {JOINER: 7}, 2 * STANDS_S + 1) is not None


def test_what_is_done_again_is_no_step() -> None:
    steps = FillSteps()
    for _ in range(3):  # tries, each of which comes no further
        steps.came_to(COPY, ("read", "n1"), b"k")
        steps.came_to(COPY, ("read", "n1"), b"m")
        steps.came_to(COPY, "rounds", b"a")
    assert steps.count == 3
    steps.came_to(COPY, ("read", "n1"), b"")
    steps.came_to(COPY, ("read", "n2"), b"a")
    steps.came_to(COPY, "rounds", b"b")
    assert steps.count == 6
    steps.came_to(COPY, ("read", "n1"), b"z")
    assert steps.count == 6, "it was at the end"
    steps.keep_only(set())
    steps.came_to(COPY, ("read", "n1"), b"a")
    assert steps.count == 7, "the copy of another move"


async def test_a_joiner_tells_its_steps_and_why_it_waits() -> None:
    steps, held_back = FillSteps(), {PartitionId(3): "DISK_FULL: " + "x" * 500}
    steps.done()
    answer = steps.handlers(lambda: held_back)[STEPS]

    class Direct:
        async def call(self, node: NodeId, method: str, body: bytes, **rest: Any) -> bytes:
            assert method == STEPS
            return cast("bytes", answer(cast("Incoming", None)))

    told, why = await ask_steps(cast("Transport", Direct()), JOINER)
    assert (told, why[:9], len(why)) == (1, "DISK_FULL", 200)
    held_back.clear()
    assert await ask_steps(cast("Transport", Direct()), JOINER) == (1, "")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All are up, and the joiner stands still."""
    monkeypatch.setattr(giving_up, "LOOK_S", 0.001)
    monkeypatch.setattr(giving_up, "TURN_S", 0.01)
    monkeypatch.setattr("ringmill.cluster.ring.joiners.standing_joiners.STANDS_S", 0.05)
    made = Cluster()
    made.down = ()
    return made


def begun(cluster: Any, node: str, change: Callable[..., Any] | None = None) -> asyncio.Task[None]:
    each = GivingUp(
        NodeId(node),
        topology=cluster,
        liveness=cluster,
        ask=cluster.ask,
        change=change or cluster.change,
        clock=SystemClock(),
    )
    each.take(cluster.serving_topology())
    return asyncio.create_task(each.run())


async def test_the_partitions_go_back_to_their_old_owners_and_the_log_says_why(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = begun(cluster, "n1")
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(30):
            while cluster.serving_topology().is_moving:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert not any(row.is_joint for row in cluster.serving_topology().rows)
    assert f"the plan is given up: {NAMED}" in caplog.text
    running.cancel()


async def test_a_joiner_that_goes_on_is_left_alone(cluster: Any) -> None:
    running = begun(cluster, "n1")
    for _ in range(100):
        cluster.steps += 1
        await asyncio.sleep(0.002)
    assert (cluster.changes, cluster.asked > 10) == (0, True)
    running.cancel()


async def test_a_joiner_of_the_release_before_is_left_alone(cluster: Any) -> None:
    async def refuse(joiner: NodeId) -> tuple[int, str]:
        cluster.asked += 1
        raise Unavailable(f"{STEPS} is not served here")

    cluster.ask = refuse
    running = begun(cluster, "n1")
    await asyncio.sleep(0.2)
    assert (cluster.changes, cluster.asked > 10) == (0, True)
    running.cancel()


async def test_a_member_without_a_vote_asks_nobody(cluster: Any) -> None:
    assert JOINER not in cluster.serving_topology().voter_nodes
    running = begun(cluster, JOINER)
    await asyncio.sleep(0.1)
    assert (cluster.changes, cluster.asked) == (0, 0)
    running.cancel()


async def test_a_plan_that_is_paused_when_the_change_is_made_stays(cluster: Any) -> None:
    asked = asyncio.Event()

    async def change(change: Callable[[Topology, bool], Topology | None], within_s: float) -> None:
        if not cluster.serving_topology().is_paused:
            cluster.current = held(cluster.serving_topology())
        await cluster.change(change, within_s)
        asked.set()

    running = begun(cluster, "n1", change)
    async with asyncio.timeout(30):
        await asked.wait()
    assert any(row.is_joint for row in cluster.serving_topology().rows)
    running.cancel()


async def test_a_move_that_goes_on_when_the_change_is_made_stays(cluster: Any) -> None:
    asked = asyncio.Event()

    async def change(change: Callable[[Topology, bool], Topology | None], within_s: float) -> None:
        topology = (
            cluster.serving_topology()
        )  # the newest is fetched, and the joiner has said that it is filled
        filled = {PartitionId(at): row.row_epoch for at, row in enumerate(topology.rows) if row.is_joint}
        seat = topology.member(JOINER).seat
        cluster.current = advanced(topology, seat, filled=filled, adopted={}, most=0)
        await cluster.change(change, within_s)
        asked.set()

    running = begun(cluster, "n1", change)
    async with asyncio.timeout(30):
        await asked.wait()
    assert any(row.is_joint for row in cluster.serving_topology().rows)
    running.cancel()
