"""A node reports on its own attempts: what it says of another one's is refused, and changes nothing (J32)."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import PermissionDenied
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.messages.worker_messages import (
    TASK_REPORT,
    AttemptReport,
    decode_assignments,
    encode_reports,
)
from ringmill.cluster.ports import Priority

HAS_OWN_FORKSERVERS = True


@pytest.mark.parametrize("kind", ["failed", "progress"])
async def test_a_node_that_reports_on_the_attempt_of_another_one_is_refused(cluster: Any, kind: str) -> None:
    """It knows the attempt and the worker's start, as each member may."""
    orders: dict[NodeId, bytes] = {}
    cluster.wire.answered = lambda sender, to, method, body: (
        orders.setdefault(to, body) if method == "task.start" else None
    )
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    ((worker, order),) = orders.items()
    forger = next(node for node in cluster.nodes if node not in (worker, "n1"))
    attempt = decode_assignments(order)[0].attempt
    failure = TaskFailed(Cause.USER_ERROR, "forged").to_wire() if kind == "failed" else None
    body = [1, 1, "forged", 0] if kind == "progress" else None
    forged = encode_reports([AttemptReport("job-1", attempt, worker, "1", kind, body, failure)])
    with pytest.raises(PermissionDenied, match=f"{forger} reports on an attempt of {worker}, not its own"):
        await cluster.nodes[forger].end.call(
            NodeId("n1"), TASK_REPORT, forged, timeout_s=5.0, priority=Priority.CONTROL
        )
    (cluster.folder / "flag").touch()
    view = await cluster.finish()
    assert (view.state, view.summary.tasks[0].attempts) == ("SUCCEEDED", 1)
    assert cluster.parts() == cluster.expected()
