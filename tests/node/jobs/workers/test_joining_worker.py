"""A node that joins while a job runs gets tasks of it."""

from __future__ import annotations

from typing import Any

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import first_topology
from tests.node.jobs.conftest import MEMBERS

N1, N2, N3 = map(NodeId, ("n1", "n2", "n3"))


async def test_a_node_that_joins_while_a_job_runs_gets_tasks_of_it(cluster: Any) -> None:
    ordered: set[NodeId] = set()
    note_reports = cluster.wire.answered

    def note(sender: NodeId, to: NodeId, method: str, body: bytes) -> None:
        note_reports(sender, to, method, body)
        if method == "task.start":
            ordered.add(to)

    cluster.wire.answered = note
    everyone = cluster.topology.current
    cluster.topology.current = first_topology("jobs", MEMBERS[:2])
    cluster.write_input(*["poison\n" + "one two three four\n" * 20_000] * 4)  # a map each, as a file is cut
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: ordered == {N1, N2})
    cluster.topology.current = everyone
    await cluster.until(lambda: N3 in ordered)
    assert not any(report.has_ended for report in cluster.reports), "all that were there are at work"
    (cluster.folder / "flag").touch()
    view = await cluster.finish()
    assert (view.state, view.summary.retried) == ("SUCCEEDED", 0)
    assert next(report.kind for report in cluster.reports if report.node == N3) == "done"
    assert N3 in {task.node for task in view.summary.tasks if task.task.startswith("map")}
    assert cluster.parts() == cluster.expected()
