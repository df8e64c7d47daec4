"""The loop of `cluster autoscale` on a launcher and a cluster of a few names: what is done and told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

from ringmill.client.scaling.autoscaler import Autoscaler
from ringmill.client.scaling.scaled_cluster import Look
from ringmill.client.scaling.scaling_policy import Decision, Observation, ScalingRules
from ringmill.cluster.errors import Conflict, InvalidArgument

RULES: Final = ScalingRules(3, 5, sustained_s=2.0, cooldown_s=3.0)


@dataclass
class Names:
    """A launcher, a cluster, a measure and a log: members change at the look after `moves` was cleared."""

    members: list[str]
    running: list[str] = field(default_factory=list)  # by this launcher
    load: float = 3.0
    away: str = ""
    moves: str = ""
    refuses: str = ""
    costs: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    name = "load"
    target = 1.0

    def launched(self) -> list[str]:
        return list(self.running)

    async def start(self) -> Any:
        fresh = f"n{max(int(each[1:]) for each in [*self.members, *self.running]) + 1}"
        self.running.append(fresh)
        return SimpleNamespace(id=fresh, address="there:1")

    async def stop(self, node: str) -> None:
        assert node not in self.members
        self.running.remove(node)

    async def look(self) -> Look:
        seen = SimpleNamespace(
            states=dict.fromkeys(self.members, "up"),
            blocker=self.away or self.moves,
            keeps="",
            topology=SimpleNamespace(n=3),
            status=SimpleNamespace(coordinator="n5"),
        )
        return cast("Look", seen)

    async def removal_bytes(self, node: str) -> int:
        if node not in self.costs:
            raise InvalidArgument("2 partitions could not be filled")
        return self.costs[node]

    async def add(self, node: str, address: str) -> int:
        if self.refuses:
            raise Conflict("partitions are moving", outcome=self.refuses)
        self.members.append(node)
        self.moves = f"{node} joins"
        return 2

    async def remove(self, node: str) -> int:
        self.members.remove(node)
        self.moves = f"{node} leaves"
        return 3

    async def wait_for_majority(self) -> None:
        assert not self.moves

    async def read(self, look: Look) -> Mapping[str, float | None]:
        return {node: self.load / len(self.members) for node in self.members}

    async def aclose(self) -> None:
        return

    def decided(self, seen: Observation, figures: Mapping[str, float | None], decision: Decision) -> None:
        self.reasons.append(decision.reason)
        if decision.verb != "stay":
            self.told.append(f"{decision.verb} {decision.node}".strip())

    def did(self, what: str, node: str, told: str) -> None:
        self.told.append(f"{what} {node}".strip())


def scaler(names: Names, *, is_dry: bool = False) -> Autoscaler:
    return Autoscaler(names, names, names, RULES, names, is_dry)


def steps(scaling: Autoscaler, first_s: float, last_s: float) -> None:
    async def go() -> None:
        for at in range(int(first_s), int(last_s) + 1):
            await scaling.step(float(at))

    asyncio.run(go())


def test_a_node_is_started_added_and_settled_and_the_cool_down_begins_when_nothing_moves() -> None:
    names = Names(["n1", "n2", "n3"], load=6.0)
    scaling = scaler(names)
    steps(scaling, 0, 2)
    assert names.told == ["add", "started n4", "joins n4"] and scaling.under_way == "n4 joins"
    steps(scaling, 3, 20)
    assert names.reasons[-1] == "n4 joins" and len(names.told) == 3, "it waits as long as partitions move"
    names.moves = ""
    steps(scaling, 21, 23)
    assert names.told[3:] == ["joined n4"] and "cools down" in names.reasons[-1]
    assert scaling.under_way == ""
    steps(scaling, 24, 24)
    assert names.told[4:] == ["add", "started n5", "joins n5"], "what was sustained counts from there on"


def test_the_cheapest_node_that_it_has_started_leaves_and_is_stopped_once_it_is_not_a_member() -> None:
    costs = {"n4": 70, "n5": 10}
    names = Names(["n1", "n2", "n3", "n4", "n5"], running=["n4", "n5"], load=0.5, costs=costs)
    scaling = scaler(names)
    steps(scaling, 0, 3)
    assert names.told == ["remove n4", "leaves n4"], "the coordinator of jobs goes last"
    assert names.running == ["n4", "n5"]
    names.moves = ""
    steps(scaling, 4, 4)
    assert names.told[2:] == ["left n4", "stopped n4"] and names.running == ["n5"]


def test_a_removal_that_cannot_be_done_now_is_a_reason_to_stay() -> None:
    names = Names(["n1", "n2", "n3", "n4"], running=["n4"], load=0.5)
    steps(scaler(names), 0, 4)
    assert names.told == [] and "n4 cannot leave: 2 partitions" in names.reasons[-1]


def test_what_has_left_after_an_interrupted_run_is_stopped_by_the_next_one() -> None:
    names = Names(["n1", "n2", "n3"], running=["n4"], moves="n4 leaves")
    steps(scaler(names), 0, 0)
    assert names.running == ["n4"]
    names.moves = ""
    steps(scaler(names), 0, 0)
    assert names.told == ["stopped n4"] and names.running == []


def test_a_refused_newcomer_is_stopped_and_one_that_may_become_a_member_is_kept() -> None:
    for outcome, left in (("failed", []), ("unknown", ["n4"])):
        names = Names(["n1", "n2", "n3"], load=6.0, refuses=outcome)
        scaling = scaler(names)
        steps(scaling, 0, 2)
        assert names.told == ["add", "started n4", "failed"] and names.running == left
        assert scaling.under_way == ("n4 joins" if left else "")
    steps(scaling, 3, 3)
    assert names.told[3:] == ["failed n4", "stopped n4"], "it has not become one"


def test_a_dry_run_tells_one_decision_a_cool_down_and_changes_nothing() -> None:
    names = Names(["n1", "n2", "n3"], load=6.0)
    steps(scaler(names, is_dry=True), 0, 6)
    assert names.told == ["add", "add"] and names.members == ["n1", "n2", "n3"] and not names.running


def test_nothing_is_done_while_a_member_is_away() -> None:
    names = Names(["n1", "n2", "n3"], load=6.0, away="n2 is down")
    steps(scaler(names), 0, 20)
    assert names.told == [] and set(names.reasons) == {"n2 is down"}
