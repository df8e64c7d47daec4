"""A coordinator gives no work to a node that is short of memory, and says which is."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.ports import MemoryLeft
from ringmill.node.compute.worker import Worker
from ringmill.node.jobs.job_driver import JobDriver
from tests.node.jobs.conftest import JobCluster

N2, N3 = NodeId("n2"), NodeId("n3")


def left_at(cluster: JobCluster, node: NodeId, mib: int) -> None:
    cluster.nodes[node].worker._memory._read = lambda: [MemoryLeft(mib << 20, 8 << 30)]


async def test_the_others_have_its_work_and_the_job_says_why(cluster: JobCluster) -> None:
    cluster.write_much()
    left_at(cluster, N2, 300)
    await cluster.submit(cluster.spec(mode="slow"))
    coordinator = cluster.nodes[NodeId("n1")].coordinator
    seen: set[NodeLack] = set()
    async with asyncio.timeout(60):
        async for view in coordinator.watch("job-1"):
            seen.update(view.lacks)
    [lack] = seen
    assert lack.node == N2
    assert lack.why.startswith("its machine has 300 MiB of 8192 MiB of memory left")
    assert (view.state, view.lacks) == ("SUCCEEDED", ())
    assert {report.node for report in cluster.reports} == {"n1", "n3"}
    assert cluster.parts() == cluster.expected()


async def test_a_node_that_gives_work_back_gets_no_more_until_it_says_what_it_has(
    cluster: JobCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has run out of memory since its last word."""
    cluster.write_much()
    left_at(cluster, N2, 300)
    monkeypatch.setattr(Worker, "lack", "")  # no node says it, with whatever else it answers

    async def once(driver: JobDriver) -> None:
        for node in driver._world.members_up():
            await driver._poll(node)

    monkeypatch.setattr(JobDriver, "_watch_workers", once)
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED", view.error
    failed = [report for report in cluster.reports if report.kind == "failed"]
    assert [(report.node, report.failure[0]) for report in failed] == [("n2", "NodeMemory")]
    assert view.summary.retried == 1
    assert cluster.parts() == cluster.expected()
