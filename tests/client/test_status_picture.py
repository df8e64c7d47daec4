"""One picture out of many opinions."""

from __future__ import annotations

from ringmill.client.administration.status import ClusterStatus, combine
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.membership_pb2 import MemberView, StatusResponse

MEMBERS = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, 4)]
TOPOLOGY = first_topology("test", MEMBERS, partitions=16)


def view(
    node: str,
    *,
    down: str = "",
    slow: str = "",
    epoch: int = 1,
    short: int = 0,
    broken: int = 0,
    reasons: tuple[str, ...] = (),
) -> StatusResponse:
    told = {"up": "n1 n2 n3", "slow": slow, "down": down}
    states = {name: state for state, names in told.items() for name in names.split()}
    return StatusResponse(
        cluster="test", node=node, epoch=epoch, keys=5, hints=2, pid=4000, n=3, coordinator="n1",
        members=[MemberView(id=name, state=state, membership="up") for name, state in states.items()],
        ranges_ok=16 - short - broken, ranges_under_replicated=short, ranges_no_quorum=broken,
        reasons=reasons, engine={"flushes": 4},
    )  # fmt: skip


def picture(*answers: StatusResponse | RingmillError) -> ClusterStatus:
    return combine(TOPOLOGY, {m.address: answer for m, answer in zip(MEMBERS, answers, strict=True)})


def test_a_cluster_in_which_all_see_all_is_ok() -> None:
    seen = picture(view("n1"), view("n2"), view("n3"))
    assert (seen.health, seen.reasons, seen.hints, seen.ranges.ok) == ("ok", (), 6, 16)
    assert [node.owns for node in seen.nodes] == [16, 16, 16]
    assert [node.engine for node in seen.nodes] == [{"flushes": 4}] * 3


def test_partitions_that_move_are_counted_and_are_no_harm() -> None:
    moving = with_members(
        TOPOLOGY, MemberChanges(add=[Member(NodeId("n4"), DiskId("4" * 32), "127.0.0.1:7104")])
    )
    assert moving is not None
    answers = {member.address: view(member.id, epoch=moving.epoch) for member in MEMBERS}
    seen = combine(moving, {**answers, "127.0.0.1:7104": view("n4", epoch=moving.epoch)})
    assert seen.moving == moving.moving > 0
    assert seen.reasons == ("n4 is suspect",), "as nobody has told of it here"
    assert picture(view("n1"), view("n2"), view("n3")).moving == 0


def test_the_worst_opinion_counts() -> None:
    seen = picture(view("n1"), view("n2", down="n3", short=16), Unavailable("refused"))
    assert seen.health == "degraded"
    assert seen.nodes[2].state == "down"
    assert seen.reasons[0] == "n3 is down"


def test_a_node_is_slow_when_most_of_the_others_say_so_and_the_reason_names_them() -> None:
    seen = picture(view("n1", slow="n3"), view("n2", slow="n3"), view("n3"))
    assert (seen.health, [node.state for node in seen.nodes]) == ("degraded", ["up", "up", "slow"])
    assert seen.reasons == ("n3 is slow, say n1, n2",)
    assert picture(view("n1", slow="n3"), view("n2"), view("n3")).health == "ok"


def test_a_node_that_answers_is_not_called_down() -> None:
    seen = picture(view("n1"), view("n2", down="n3", short=16), view("n3"))
    assert (seen.health, seen.nodes[2].state) == ("degraded", "suspect")
    assert seen.reasons[0] == "n3 answers, but n2 cannot reach it"


def test_a_node_cut_off_from_all_others_takes_nobody_down_with_it() -> None:
    alone = view("n1", down="n2 n3", broken=16)
    seen = picture(alone, view("n2", down="n1", short=16), view("n3", down="n1", short=16))
    assert [node.state for node in seen.nodes] == ["suspect", "up", "up"]
    assert seen.health == "degraded" and seen.ranges.no_quorum == 0
    assert seen.reasons[0] == "n1 answers, but is cut off from n2, n3"


def test_when_nobody_reaches_anybody_the_ranges_have_no_quorum() -> None:
    seen = picture(
        *(view(one, down=" ".join({"n1", "n2", "n3"} - {one}), broken=16) for one in ("n1", "n2", "n3"))
    )
    assert (seen.health, seen.ranges.no_quorum) == ("unavailable", 16)


def test_what_a_node_says_of_itself_is_a_reason() -> None:
    seen = picture(view("n1"), view("n2", reasons=("short of file descriptors",)), view("n3"))
    assert (seen.health, seen.reasons) == ("degraded", ("n2: short of file descriptors",))


def test_one_who_does_not_answer_is_not_called_up() -> None:
    seen = picture(view("n1"), view("n2"), Unavailable("refused"))
    assert (seen.nodes[2].state, seen.nodes[2].keys) == ("suspect", None)
    assert seen.health == "degraded"


def test_ranges_without_a_quorum_make_it_unavailable() -> None:
    seen = picture(view("n1", down="n3", broken=4), Unavailable("refused"), Unavailable("refused"))
    assert (seen.health, seen.ranges.no_quorum) == ("unavailable", 4)


def test_a_node_behind_is_named() -> None:
    seen = picture(view("n1"), view("n2"), view("n3", epoch=0))
    assert "n3 is at epoch 0" in seen.reasons


def test_what_a_node_says_is_wrong_with_itself_makes_the_cluster_degraded() -> None:
    ill = view("n2")
    ill.damaged_ranges, ill.healing = 3, "partition 7"
    ill.reasons.append("3 damaged key ranges wait to be healed")
    seen = picture(view("n1"), ill, view("n3"))
    assert seen.health == "degraded"
    assert seen.reasons == ("n2: 3 damaged key ranges wait to be healed",)
    assert (seen.nodes[1].damaged_ranges, seen.nodes[1].healing) == (3, "partition 7")
    assert seen.nodes[0].damaged_ranges == 0
