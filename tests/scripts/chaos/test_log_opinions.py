"""False deaths are counted from the logs of nodes, each change as it stands there."""

from __future__ import annotations

from chaos.opinions.log_opinions import Counts, changes_in, counted, seen_down_by

LOG = """\
2026-11-29 06:00:01,250 INFO    ringmill.node.membership.liveness  n2 is suspect
2026-11-29 06:00:02,250 INFO    ringmill.node.membership.liveness  n2 is up
2026-11-29 06:00:02,500 INFO  ringmill.node.membership.liveness  n1 doubts itself after standing still for 1 s
2026-11-29 06:00:03,000 INFO    ringmill.node.membership.liveness  n3 is suspect
2026-11-29 06:00:03,100 INFO    ringmill.node.jobs.job_coordinator  n3 is down, it says
2026-11-29 06:00:04,000 INFO    ringmill.node.membership.liveness  n3 is down
2026-11-29 06:00:05,000 INFO    ringmill.node.membership.liveness  n2 is suspect
""".splitlines()


def test_a_false_death_is_told_from_a_suspicion_that_was_refuted() -> None:
    changes = changes_in("n1", LOG)
    begun = changes[0].at
    assert [(one.node, one.state, round(one.at - begun, 3)) for one in changes] == [
        ("n2", "suspect", 0.0),
        ("n2", "up", 1.0),
        ("n3", "suspect", 1.75),
        ("n3", "down", 2.75),
        ("n2", "suspect", 3.75),
    ]
    whole = counted(changes, LOG, begun, begun + 60.0)
    assert whole == Counts(suspicions=3, refuted=1, died=1, stalls=1) and whole.open == 1
    assert counted(changes, LOG, begun + 0.5, begun + 2.0) == Counts(1, 1, 0, 1), "only within the time"


def test_whoever_saw_a_killed_node_dead_counts_from_the_kill_on() -> None:
    changes = changes_in("n1", LOG) + changes_in("n2", LOG[5:])
    killed_at = changes[0].at
    assert seen_down_by(changes, "n3", killed_at) == {"n1": 2.75, "n2": 2.75}
    assert seen_down_by(changes, "n3", killed_at + 10.0) == {}
