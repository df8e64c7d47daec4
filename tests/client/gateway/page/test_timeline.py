"""The timeline of the live page: what changed between two looks at a cluster."""

from __future__ import annotations

from dataclasses import replace

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.gateway.page.timeline import MOST_EVENTS, Timeline

UP = NodeStatus(id="n1", address="127.0.0.1:1", state="up", membership="up", owns=16, pid=7)
WHOLE = ClusterStatus(
    cluster="c", epoch=1, n=1, health="ok", reasons=(), coordinator="n1", ranges=Ranges(16, 0, 0), nodes=(UP,)
)
STILL = MovesView(1, 0, 0, False, (), {}, {}, {}, ())


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
