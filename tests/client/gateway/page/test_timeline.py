"""The timeline of the live page: what changed between two looks at a cluster."""

from __future__ import annotations

from dataclasses import replace

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.gateway.page.timeline import MOST_EVENTS, Timeline
from ringmill.cluster.wire.stubs.membership_pb2 import MetricSample

UP = NodeStatus(id="n1", address="127.0.0.1:1", state="up", membership="up", owns=16, pid=7)
WHOLE = ClusterStatus(
    cluster="c", epoch=1, n=1, health="ok", reasons=(), coordinator="n1", ranges=Ranges(16, 0, 0), nodes=(UP,)
)
STILL = MovesView(1, 0, 0, False, (), {}, {}, {}, ())


def counting(repaired: int, read_repairs: int = 0) -> dict[str, NodeMetrics]:
    counted = {
        "repaired_objects_total": [MetricSample(value=repaired, labels={"direction": "sent"})],
        "read_repairs_total": [MetricSample(value=read_repairs)],
    }
    return {"n1": NodeMetrics("n1", 1.0, counted)}


def repairs_told(*looks: tuple[float, dict[str, NodeMetrics]]) -> list[tuple[float, str]]:
    timeline = Timeline()
    found = []
    for at_s, metrics in looks:
        found += timeline.observe(at_s, WHOLE, STILL, metrics)
    return [(each.at_s, each.text) for each in found if each.kind == "repair"]


def told(*looks: ClusterStatus, moves: tuple[MovesView | None, ...] = ()) -> list[str]:
    timeline = Timeline()
    found = []
    for at, seen in enumerate(looks):
        found = [each.text for each in timeline.observe(float(at), seen, moves[at] if moves else STILL)]
    return found


def having(**changed: object) -> ClusterStatus:
    return replace(WHOLE, nodes=(replace(UP, **changed),))  # type: ignore[arg-type]


def test_the_first_look_tells_states_and_a_look_without_a_change_nothing() -> None:
    assert told(WHOLE) == ["n1 is up"]
    assert told(WHOLE, WHOLE) == []


def test_each_change_of_a_node_is_reported_once() -> None:
    assert told(WHOLE, having(state="down")) == ["n1 is down"]
    assert told(having(state="down"), having(state="down", awaited_hints=3)) == [
        "writes wait for n1 as hints"
    ]
    assert told(having(awaited_hints=3), WHOLE) == ["n1 has all its hints"]
    assert told(WHOLE, having(pid=8)) == ["n1 was started again"]
    assert told(having(pid=1, uptime_s=60.0), having(pid=1, uptime_s=0.5)) == ["n1 was started again"]
    assert told(having(pid=1, uptime_s=60.0), having(pid=8, uptime_s=0.5)) == ["n1 was started again"]
    assert told(having(pid=1, uptime_s=60.0), having(pid=1, uptime_s=61.0)) == []
    assert told(WHOLE, having(pid=None)) == []
    assert told(WHOLE, having(healing="a to b")) == ["n1 heals a to b"]
    assert told(WHOLE, replace(WHOLE, nodes=())) == ["n1 is not a member any more"]


def test_partitions_that_are_filled_are_told_at_the_beginning_and_the_end() -> None:
    empty, down = having(unfilled=12), having(state="down", pid=None, unfilled=None)
    assert told(having(unfilled=0), empty) == ["n1 fills 12 partitions from other owners"]
    assert told(having(unfilled=0), having(unfilled=1)) == ["n1 fills 1 partition from other owners"]
    assert told(having(unfilled=0), empty, having(unfilled=3)) == []
    assert told(having(unfilled=0), empty, having(unfilled=0)) == ["n1 has filled all its partitions"]
    assert told(having(unfilled=0), empty, down) == ["n1 is down"], "it has not ended"
    assert told(empty, down, having(unfilled=0)) == ["n1 is up", "n1 has filled all its partitions"]


def test_a_node_that_goes_down_while_it_heals_has_not_healed() -> None:
    assert told(having(healing="a to b"), having(state="down", pid=None)) == ["n1 is down"]
    assert told(having(healing="a to b"), WHOLE) == ["n1 has healed what was damaged"]


def test_what_comparing_moved_is_told_once_when_it_has_ended() -> None:
    looks = [(float(at), counting(count)) for at, count in enumerate((5, 5, 9, 17, 17, 17))]
    assert repairs_told(*looks) == [(4.0, "n1: comparing moved 12 objects")]
    assert repairs_told((0.0, counting(0)), (1.0, counting(0, 1)), (2.0, counting(0, 1))) == [
        (2.0, "n1: reads mended 1 old copy")
    ]


def test_a_repair_that_goes_on_is_told_every_half_minute() -> None:
    looks = [(float(at), counting(at)) for at in range(64)]
    assert repairs_told(*looks) == [
        (31.0, "n1: comparing moved 31 objects"), (62.0, "n1: comparing moved 31 objects")
    ]  # fmt: skip


def test_a_look_that_a_node_did_not_answer_loses_nothing_and_its_restart_counts_from_0() -> None:
    looks = [(0.0, counting(5)), (1.0, {}), (2.0, counting(7)), (3.0, counting(7))]
    assert repairs_told(*looks) == [(3.0, "n1: comparing moved 2 objects")]
    looks = [(0.0, counting(500)), (1.0, counting(3)), (2.0, counting(3))]
    assert repairs_told(*looks) == [(2.0, "n1: comparing moved 3 objects")]


def test_what_is_of_the_cluster_is_reported() -> None:
    worse = replace(WHOLE, health="degraded", reasons=("n1 is down",))
    assert told(WHOLE, worse) == ["the cluster is degraded: n1 is down"]
    assert told(worse, WHOLE) == ["the cluster is healthy"]
    assert told(WHOLE, replace(WHOLE, epoch=2, coordinator="n2")) == [
        "n2 coordinates jobs", "topology epoch 2"
    ]  # fmt: skip
    moving = replace(STILL, left=4)
    assert told(WHOLE, WHOLE, moves=(STILL, moving)) == ["4 copies of partitions move"]
    assert told(WHOLE, WHOLE, moves=(moving, STILL)) == ["nothing moves any more"]


def test_only_the_newest_events_are_kept() -> None:
    timeline = Timeline()
    for at in range(MOST_EVENTS):
        timeline.observe(float(at), having(state="down" if at % 2 else "up"), None)
        timeline.observe(float(at), having(state="up" if at % 2 else "down"), None)
    assert len(timeline.events()) == MOST_EVENTS + 1, "and the state of the node before them"
    assert timeline.events()[-1].at_s == MOST_EVENTS - 1
    assert sorted(timeline.events(), key=lambda event: event.at_s) == timeline.events()


def test_the_state_of_each_node_is_kept_whatever_else_happens() -> None:
    """It is where the bar of the node begins."""
    timeline = Timeline()
    two = replace(WHOLE, nodes=(UP, replace(UP, id="n2")))
    timeline.observe(0.0, two, None)
    for epoch in range(1, 2 * MOST_EVENTS):
        timeline.observe(float(epoch), replace(two, epoch=epoch), None)
    assert [each.text for each in timeline.events()[:3]] == ["n1 is up", "n2 is up", "topology epoch 500"]
    for epoch in range(2 * MOST_EVENTS, 4 * MOST_EVENTS):
        timeline.observe(float(epoch), replace(WHOLE, epoch=epoch), None)
    assert [each.text for each in timeline.events() if each.kind == "state"] == ["n1 is up"], "n2 has left"


def test_after_a_pause_states_are_reported_as_they_are_then_and_nothing_else() -> None:
    timeline = Timeline()
    timeline.observe(0.0, replace(WHOLE, nodes=(UP, replace(UP, id="n2"), replace(UP, id="n3"))), None)
    timeline.pause()
    later = replace(WHOLE, epoch=7, nodes=(replace(UP, pid=8), replace(UP, id="n2", state="down")))
    found = [each.text for each in timeline.observe(9000.0, later, None)]
    assert found == ["n2 is down", "n3 is not a member any more"]
