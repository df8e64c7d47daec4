"""Joiners have their epochs decided one after the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import cast

import pytest

from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.node.contracts import TopologyView
from ringmill.node.moves import taking_turns
from ringmill.node.moves.taking_turns import joiners_of, take_turn


def member(number: int) -> Member:
    return Member(NodeId(f"n{number}"), DiskId(f"{number:032x}"), f"127.0.0.1:{7000 + number}")


def joining(*numbers: int) -> Topology:
    three = first_topology("demo", [member(each) for each in (1, 2, 3)], partitions=16)
    planned = with_members(three, MemberChanges(add=[member(each) for each in numbers]))
    assert planned is not None
    return planned


@dataclass
class View:
    held: Topology

    def serving_topology(self) -> Topology:
        return self.held


async def test_a_joiner_waits_for_those_before_it_and_each_epoch_brings_the_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = View(joining(4, 5, 6))
    assert joiners_of(view.held) == {"n4", "n5", "n6"}
    monkeypatch.setattr(taking_turns, "SLOT_S", 0.001)
    is_held = asyncio.Event()
    slots: list[float] = []
    pause = asyncio.sleep

    async def note(seconds: float) -> None:
        slots.append(seconds)
        if is_held.is_set():
            view.held = replace(view.held, epoch=Epoch(view.held.epoch + 1))
        await pause(0)

    monkeypatch.setattr(asyncio, "sleep", note)

    async def slots_of(node: str) -> int:
        slots.clear()
        await take_turn(NodeId(node), cast("TopologyView", view))
        return len(slots)

    assert sorted([await slots_of(node) for node in ("n4", "n5", "n6")]) == [0, 1, 2]
    (last,) = [node for node in ("n4", "n5", "n6") if await slots_of(node) == 2]
    is_held.set()
    assert await slots_of(last) == 2, "two others had their turns"
    assert view.held.epoch % 3 == sorted(joiners_of(view.held)).index(NodeId(last))
    is_held.clear()
    view.held = joining(4)
    assert await slots_of("n4") == 0, "nobody else joins"
