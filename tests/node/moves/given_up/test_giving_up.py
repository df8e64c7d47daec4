"""A plan whose joiner stays away is given up by itself (rule M7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.joiners.away_joiners import AWAY_S, BLOCKED_S, AwayJoiners
from ringmill.cluster.ring.moves import advanced, paused
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.node.moves import giving_up
from ringmill.node.moves.giving_up import GivingUp

JOINER = NodeId("n4")


def member(number: int) -> Member:
    return Member(NodeId(f"n{number}"), DiskId(f"{number:032x}"), f"127.0.0.1:{7000 + number}")


def joining() -> Topology:
    """Four partitions are being filled on the fourth node."""
    three = first_topology("demo", [member(each) for each in (1, 2, 3)], partitions=16)
    planned = with_members(three, MemberChanges(add=[member(4)]))
    assert planned is not None
    opened = advanced(planned, member(4).seat, filled={}, adopted={}, most=4)
    assert opened is not None
    return opened


def up_but(*down: str) -> Callable[[NodeId], bool]:
    return lambda node: node not in down


def test_a_joiner_that_is_away_for_ten_minutes_is_named_and_one_that_comes_back_is_not() -> None:
    joiners, topology = AwayJoiners(), joining()
    assert joiners.look(topology, up_but(JOINER), 0.0) is None
    assert joiners.look(topology, up_but(JOINER), AWAY_S - 1) is None
    assert joiners.look(topology, up_but(JOINER), AWAY_S, later_s=10) is None, "another one says so first"
    found = joiners.look(topology, up_but(JOINER), AWAY_S)
    assert found is not None and found[0] == JOINER
    assert joiners.look(topology, up_but(), AWAY_S + 1) is None
    assert joiners.look(topology, up_but(JOINER), AWAY_S + 2) is None, "it counts from now on"


def test_a_joiner_that_takes_the_majority_away_is_named_after_a_minute() -> None:
    joiners, topology = AwayJoiners(), joining()
    assert joiners.look(topology, up_but(JOINER, "n1"), 0.0) is None
    assert joiners.look(topology, up_but(JOINER), BLOCKED_S) is None, "a majority of both is up"
    assert joiners.look(topology, up_but(JOINER, "n1"), BLOCKED_S) is None
    found = joiners.look(topology, up_but(JOINER, "n1"), 2 * BLOCKED_S)
    assert found is not None and "take no writes" in found[1]
    helpless = AwayJoiners()
    for now in (0.0, BLOCKED_S):
        assert helpless.look(topology, up_but(JOINER, "n1", "n2"), now) is None, (
            "the old owners are none, too"
        )


def test_while_a_plan_is_paused_only_a_joiner_that_takes_the_majority_away_is_named() -> None:
    joiners, topology = AwayJoiners(), paused(joining(), is_paused=True)
    assert topology is not None
    for now in (0.0, AWAY_S, 2 * AWAY_S):
        assert joiners.look(topology, up_but(JOINER), now) is None
    assert joiners.look(topology, up_but(JOINER, "n1"), 2 * AWAY_S) is None
    assert joiners.look(topology, up_but(JOINER, "n1"), 2 * AWAY_S + BLOCKED_S) is not None


def test_whoever_is_cut_off_itself_names_nobody() -> None:
    """It sees the joiner down, and most voters, too; what it saw then does not count when it is back."""
    joiners, topology = AwayJoiners(), joining()
    cut_off = up_but(JOINER, "n2", "n3")
    for now in (0.0, AWAY_S / 2, AWAY_S, 2 * AWAY_S):
        assert joiners.look(topology, cut_off, now) is None
    assert joiners.look(topology, up_but(JOINER), 2 * AWAY_S + 5) is None, (
        "the joiner is heard of a moment later"
    )
    assert joiners.look(topology, up_but(JOINER), 3 * AWAY_S + 5) is not None


class Cluster:
    """The topology, and who is up, as a node sees them."""

    def __init__(self) -> None:
        self.current: Topology | None = joining()
        self.down: tuple[str, ...] = (JOINER, "n2")
        self.changes = self.asked = self.steps = 0
        self.serving = True

    def serving_topology(self) -> Topology:
        assert self.current is not None
        return self.current

    def is_up(self, node: NodeId) -> bool:
        return node not in self.down

    async def ask(self, joiner: NodeId) -> tuple[int, str]:
        self.asked += 1
        return self.steps, "the disk is full"

    async def change(self, change: Callable[[Topology, bool], Topology | None], within_s: float) -> None:
        self.current = change(self.serving_topology(), False) or self.current
        self.changes += 1


@pytest.mark.parametrize("node", ["n1", "n3"])
async def test_the_partitions_go_back_to_their_old_owners(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_up, "LOOK_S", 0.001)
    monkeypatch.setattr(giving_up, "TURN_S", 0.01)
    monkeypatch.setattr("ringmill.cluster.ring.joiners.away_joiners.BLOCKED_S", 0.02)
    cluster: Any = Cluster()
    each = GivingUp(
        NodeId(node),
        topology=cluster,
        liveness=cluster,
        ask=cluster.ask,
        change=cluster.change,
        clock=SystemClock(),
    )
    each.take(cluster.serving_topology())
    running = asyncio.create_task(each.run())
    async with asyncio.timeout(30):
        while cluster.serving_topology().is_moving:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    each.take(cluster.serving_topology())
    assert [row.whole for row in cluster.serving_topology().rows] == [row.whole for row in joining().rows]
    assert not cluster.serving_topology().has_member(JOINER), "it was to join, and owns nothing"
    made = cluster.changes
    await asyncio.sleep(0.02)
    assert cluster.changes == made, "nothing moves any more"
    running.cancel()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_up, "LOOK_S", 0.001)
    monkeypatch.setattr("ringmill.cluster.ring.joiners.away_joiners.AWAY_S", 0.1)


@pytest.mark.usefixtures("impatient")
async def test_a_joiner_that_is_back_when_the_change_is_made_stays() -> None:
    cluster: Any = Cluster()
    cluster.down = (JOINER,)
    asked = asyncio.Event()

    async def change(change: Callable[[Topology, bool], Topology | None], within_s: float) -> None:
        cluster.down = ()  # heard of while the newest topology is fetched
        await cluster.change(change, within_s)
        asked.set()

    each = GivingUp(
        NodeId("n1"),
        topology=cluster,
        liveness=cluster,
        ask=cluster.ask,
        change=change,
        clock=SystemClock(),
    )
    each.take(cluster.serving_topology())
    running = asyncio.create_task(each.run())
    async with asyncio.timeout(30):
        await asked.wait()
    assert cluster.serving_topology() == joining()
    running.cancel()


class SleepingClock(SystemClock):
    """Of a machine whose other clocks stand still while it sleeps."""

    slept_s = 0.0

    def boottime(self) -> float:
        return super().boottime() + self.slept_s


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", ["stood still", "slept", "nothing moved", "did not serve"])
async def test_a_break_in_what_was_seen_of_a_joiner_begins_its_time_anew(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_up, "LATE_S", 0.03)
    if what == "slept":  # room for looks that are late by themselves, on a busy machine
        monkeypatch.setattr("ringmill.cluster.ring.joiners.away_joiners.AWAY_S", 0.5)
    cluster: Any = Cluster()
    clock = SleepingClock()
    cluster.down = (JOINER,)
    each = GivingUp(
        NodeId("n1"),
        topology=cluster,
        liveness=cluster,
        ask=cluster.ask,
        change=cluster.change,
        clock=clock,
    )
    each.take(cluster.serving_topology())
    running = asyncio.create_task(each.run())
    await asyncio.sleep(0.02)
    if what == "stood still":
        time.sleep(0.2)  # noqa: ASYNC251
    elif what == "slept":
        await asyncio.sleep(0.06)
        clock.slept_s = 3600.0
    elif what == "nothing moved":
        each.take(first_topology("demo", [member(each) for each in (1, 2, 3)], partitions=16))
        await asyncio.sleep(0.2)
        each.take(cluster.serving_topology())
    else:
        cluster.serving = False
        await asyncio.sleep(0.2)
        cluster.serving = True
    await asyncio.sleep(0.02)
    assert cluster.changes == 0
    async with asyncio.timeout(30):
        while not cluster.changes:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    running.cancel()
