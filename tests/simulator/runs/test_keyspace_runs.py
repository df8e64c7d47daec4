"""Simulated changes of the topology: no seed breaks a promise unless a safeguard is off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ring.keyspaces.generations import Generation
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Topology, first_topology
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.keyspaces.checkers import check_documents, check_newest
from ringmill.simulator.subjects.keyspaces.record import Adopted, KeyspaceCall
from tests.simulator.red_runs import turns_red

KEYSPACES = SimulationOptions(("keyspaces",), nodes=3)
FIRST = first_topology(
    "demo",
    [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in (1, 2, 3)],
    partitions=16,
)


def test_no_seed_breaks_a_promise_of_epochs() -> None:
    results = [run_seed(seed, KEYSPACES) for seed in range(1, 8)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    assert sum(each.figures["keyspaces"]["epochs"] for each in results) > 50  # else nothing much was tried


def test_five_voters_with_objects_beside() -> None:
    options = SimulationOptions(("objects", "keyspaces"), operations=40)
    for seed in range(1, 4):
        assert run_seed(seed, options).violations == ()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("accepted-goes-on", 9),
        ("epoch-promises-kept", 14),
        ("changes-held", 4),
        ("changes-name-epochs", 29),
        ("documents-synced", 2),
        ("votes-passed-on", 15),
        ("first-document-counts", 3),
        ("used-tokens-noted", 3),
        ("used-tokens-by-median", 11),
        ("dropped-is-removed", 1),
        ("dropped-stays-gone", 23),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    assert turns_red(name, first, KEYSPACES)


def with_keyspace(topology: Topology, name: str, ttl_ms: int) -> Topology:
    following = created(topology, NewKeyspace(name, ttl_ms=ttl_ms))
    assert following is not None
    return following


def dropped_from(topology: Topology) -> Topology:
    following = dropped(topology, "a", may_be_done=False)
    assert following is not None
    return following


def altered_to(topology: Topology, ttl_ms: int) -> Topology:
    following = altered(topology, "a", KeyspaceChanges(ttl_ms=ttl_ms))
    assert following is not None
    return following


def stories(adopted: list[Topology], calls: list[KeyspaceCall]) -> str:
    held = [Adopted(f"n{at}", float(at), topology) for at, topology in enumerate(adopted)]
    return "; ".join(violation.story for violation in check_documents(held, calls))


def call(kind: Any, ttl_ms: int, epoch: int, *, at: float = 1.0, outcome: Any = "ok") -> KeyspaceCall:
    made = KeyspaceCall("k", "create", "a", ttl_ms, at, at + 0.5, epoch=epoch)
    return replace(made, kind=kind, outcome=outcome)


def test_the_checker_sees_changes_that_were_made_late() -> None:
    """After the end of whoever asked for them, over what was asked for since."""
    made, drop = call("create", 1, 2), call("drop", 0, 3, at=3.0)
    one = with_keyspace(FIRST, "a", 1)
    back = [FIRST, one, dropped_from(one), with_keyspace(dropped_from(one), "a", 1)]
    assert "epoch 4 has a create of keyspace a, and every one" in stories(back, [made, drop])
    other = dropped_from(with_keyspace(FIRST, "a", 9))
    waited = [call("create", 9, 2), replace(made, epoch=4, returned=3.5), drop]
    assert stories([FIRST, with_keyspace(FIRST, "a", 9), other, with_keyspace(other, "a", 1)], waited) == ""
    two, three = altered_to(one, 2), altered_to(altered_to(one, 2), 3)
    alters = [call("alter", 2, 3, at=2.0, outcome="unknown"), call("alter", 3, 4, at=3.0)]
    assert stories([FIRST, one, two, three], [made, *alters]) == ""
    late = altered_to(three, 2)
    assert "epoch 5 has an alter of keyspace a, and every one" in stories(
        [FIRST, one, two, three, late], [made, *alters]
    )


def test_the_checker_sees_changes_that_were_made_twice() -> None:
    """Though the caller of the second one waited still."""
    made, drop = replace(call("create", 1, 4), returned=3.5), call("drop", 0, 3, at=3.0)
    one = with_keyspace(FIRST, "a", 1)
    back = [FIRST, one, dropped_from(one), with_keyspace(dropped_from(one), "a", 1)]
    assert stories(back, [made, drop]) == "epoch 4 has a create of keyspace a that epoch 2 had"
    two, three = altered_to(one, 2), altered_to(altered_to(one, 2), 3)
    alters = [replace(call("alter", 2, 5), returned=3.5), call("alter", 3, 4, at=3.0)]
    story = stories([FIRST, one, two, three, altered_to(three, 2)], [call("create", 1, 2), *alters])
    assert story == "epoch 5 has an alter of keyspace a that epoch 3 had"


def test_a_job_that_replaces_a_keyspace_beside_operators_is_not_a_violation() -> None:
    index = KeyspaceEntry(KeyspaceId(1, 7), "index", r=2, w=2)
    first = replace(FIRST, keyspaces=(*FIRST.keyspaces, index))
    generation = Generation.of("index", index.id, "job journal")
    begun = generation.begun(first)
    assert begun is not None
    shown = generation.flipped(begun)
    assert shown is not None
    with_a = with_keyspace(shown, "a", 1)
    assert stories([first, begun, shown, with_a], [call("create", 1, 4)]) == ""
    assert "not one change" in stories([first, begun, replace(with_a, epoch=shown.epoch)], [])
    assert "failed for certain" in stories([first, begun, shown, with_a], [])


def test_the_checker_sees_what_must_not_be() -> None:
    one, other = with_keyspace(FIRST, "a", 1), with_keyspace(FIRST, "a", 2)
    third = with_keyspace(one, "b", 3)
    made = call("create", 1, 2)
    assert stories([FIRST, one], [made]) == ""
    assert "different documents of epoch 2" in stories([FIRST, one, other], [made])
    assert "nobody ever held epoch 2" in stories([FIRST, third], [])
    assert "does not follow" in stories([FIRST, one, replace(third, name="x")], [made])
    assert "the newest is 1" in stories([FIRST], [made])
    assert "is not in it" in stories([FIRST, other], [made, call("create", 2, 2)])
    assert "after epoch 2 had been told" in stories([FIRST, one], [made, call("list", 0, 1, at=3.0)])
    assert "failed for certain" in stories([FIRST, one], [call("create", 1, 0, outcome="failed")])
    other_made = replace(call("create", 2, 4, at=5.0), returned=None)
    drop = call("drop", 0, 3, at=3.0)
    without = dropped_from(one)
    again = with_keyspace(without, "a", 2)
    assert stories([FIRST, one, without], [made, drop]) == ""
    late = replace(drop, epoch=4, returned=6.0)
    assert stories([FIRST, one, without, again], [made, late, other_made]) == ""
    assert "has a drop of keyspace a, and every one that may be it was over" in stories(
        [FIRST, one, without, again, dropped_from(again)], [made, drop, other_made]
    )
    behind = list(check_newest({"n1": 2, "n2": 1}, [Adopted("n1", 1.0, one)]))
    assert len(behind) == 1 and "n2 holds epoch 1" in behind[0].story
    assert Epoch(2) == one.epoch
