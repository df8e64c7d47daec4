"""How a ring and a plan are drawn for people."""

from __future__ import annotations

import pytest

from ringmill.client.administration.member_plans import check_settled
from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.ring_view import RingView
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.main import ringmill
from ringmill.client.cli.ring import ring_show
from ringmill.client.cli.ring.ring_moves import FollowedBytes, _story
from ringmill.client.cli.ring.ring_plan import plan_story
from ringmill.client.cli.ring.ring_show import bar, ranges
from ringmill.client.cli.running import run_command
from ringmill.cluster.errors import Conflict
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.plans.topology_plan import loads_of, plan_changes
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member


def cluster(nodes: int) -> Topology:
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"h:{7100 + i}") for i in range(1, nodes + 1)]
    return first_topology("t", members, partitions=16)


def test_a_bar_has_its_mark_at_the_fair_share() -> None:
    assert bar(1) == "[################|........] 100 %"
    assert bar(0.5) == "[########........|........] 50 %"
    assert bar(1.25) == "[################|####....] 125 %"
    assert bar(9) == "[################|########] 900 %"


def test_numbers_in_a_row_are_drawn_together() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2 5 7-8"
    assert ranges(range(0, 40, 2), most=3) == "0 2 4 …"
    assert ranges([]) == ""


def test_sets_of_owners_are_listed_and_all_partitions_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    topology = cluster(3)
    view = RingView(
        topology,
        loads_of(topology, held={NodeId("n1"): 160}),
        {"n1": "up", "n2": "down"},
        (*[10.0] * 15, 900.0),
    )
    ring_show.draw(Settings(), view, lists_all=False)
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "n1\tup\tdefault\t1\t16\t16.0\t[################|........] 100 %\t160"
    assert told.err.splitlines()[1] == "  n1 n2 n3: 16 partitions, 0-15"
    assert told.err.splitlines()[2].endswith("the largest: 15 (900 bytes)")
    ring_show.draw(Settings(), view, lists_all=True)
    owners = " ".join(topology.rows[5].nodes)
    assert capsys.readouterr().out.splitlines()[5].split("\t") == ["5", owners, "normal", "1", "10"]


def test_a_plan_says_what_it_leaves_out_and_what_it_cannot_fill() -> None:
    topology = cluster(5)
    nothing = plan_changes(topology, MemberChanges(), up=topology.addresses())
    assert plan_story(nothing) == ["epoch 1: nothing would move"]
    plan = plan_changes(topology, MemberChanges(remove=[NodeId("n1")]), up=[NodeId("n4"), NodeId("n5")])
    assert plan_story(plan)[-1].endswith("to know every acknowledged write, n1, n2, n3 must be up and whole")


def test_no_node_is_started_for_a_change_while_partitions_move() -> None:
    topology = cluster(5)
    joins = MemberChanges(add=[Member(NodeId("n6"), DiskId("6" * 32), "h:7106")])
    check_settled(plan_changes(topology, joins, up=topology.addresses()))
    moving = with_members(topology, MemberChanges(remove=[NodeId("n1")]))
    assert moving is not None
    with pytest.raises(Conflict, match="partitions are moving by an earlier change"):
        check_settled(plan_changes(moving, joins, up=moving.addresses()))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["--add", "n6="], "--add 'n6=' is not ID[=ADDRESS]"),
        (["--add", "n6", "--endpoints", "127.0.0.1:1"], "n6 is on another machine, so say where it runs"),
        (["--replace", "n3="], "is not ID=NEW[=ADDRESS]"),
        (["--weight", "n1=two"], "--weight of n1 is 'two', need a whole number"),
        (["--zone", "n1=a", "--zone", "n1=b"], "--zone names 'n1' twice"),
    ],
)
def test_changes_that_are_typed_wrong_are_refused(
    line: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(ringmill, "ringmill", ["ring", "plan", *line]) == 2
    assert why in capsys.readouterr().err


def test_bytes_that_are_read_for_a_change_count_on_over_restarts_and_departures() -> None:
    followed = FollowedBytes({"n1": 100, "n2": 50})
    assert followed.since({"n1": 110, "n2": 50, "n4": 7}) == {"n1": 10, "n2": 0, "n4": 7}
    assert followed.since({"n1": 3, "n4": 9}) == {"n1": 13, "n2": 0, "n4": 9}, "n1 began again, n2 left"
    assert FollowedBytes().since({"n1": 5}) == {"n1": 0}


def test_moves_that_wait_for_the_same_are_one_line_whatever_each_try_met() -> None:
    def why(node: str, words: str) -> str:
        return f"2 old owners are needed, 1 answered ({node}: UNAVAILABLE: {words})"

    refused, broken = why("n1", "Connection refused"), why("n1", "the stream broke")
    held_back = {1: refused, 2: broken, 5: refused, 7: "the topology has changed"}
    view = MovesView(4, 30, 16, False, ("n5",), {}, held_back, {}, ("n1",))
    assert _story(view)[2:] == [
        f"waits: 3 partitions, {refused}",
        "waits: 1 partition, the topology has changed",
        "n1 did not answer",
    ]


def test_a_former_copy_that_is_kept_is_told_of_when_nothing_moves() -> None:
    view = MovesView(4, 0, 0, False, (), {}, {3: "n1 keeps its former copy"}, {}, ())
    assert _story(view) == ["epoch 4: nothing moves", "waits: 1 partition, n1 keeps its former copy"]
