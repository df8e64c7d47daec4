"""A job that is over is removed from the history: nobody tells of it any more, and nothing of it stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.consensus.forgotten_journals import FORGOTTEN, ForgottenJournals
from ringmill.cluster.errors import Conflict, NotFound, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.jobs.job_coordinator import JOB_PURGE
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.journal.job_index import JobIndex

N1, N2, N3 = map(NodeId, ("n1", "n2", "n3"))
JOURNAL = b"ringmill/job/job-1."


def left_of_the_journal(cluster: Any) -> list[bytes]:
    return [key for key, (_, value) in cluster.held.items() if key.startswith(JOURNAL) and value is not None]


async def test_a_job_is_removed_from_lists_journals_and_the_memory_of_nodes(cluster: Any) -> None:
    cluster.write_input("one two\n")
    for job in ("job-1", "job-2"):
        assert (await cluster.run(cluster.spec(job, out=job))).state == "SUCCEEDED"
    everyone = [node.coordinator for node in cluster.nodes.values()]
    assert left_of_the_journal(cluster)
    assert "job-1" in everyone[0]._jobs, "n1 has it in memory"
    assert await everyone[1].purge("job-1") == []
    for each in everyone:
        with pytest.raises(NotFound):
            await each.view("job-1")
        with pytest.raises(NotFound):
            await each.logs("job-1", "")
        assert [view.job for view in (await each.all_views()).jobs] == ["job-2"]
    assert left_of_the_journal(cluster) == []
    names = [key for key in cluster.held if key.startswith(JOURNAL)]
    told = ForgottenJournals.decode(cluster.held[FORGOTTEN][1])
    assert names and all(told.covers(key) for key in names), "owners may remove the registers, too (J29)"
    assert cluster.parts("job-1") == cluster.expected(), "its output stays"
    with pytest.raises(NotFound, match="no job 'job-1'"):
        await everyone[1].purge("job-1")
    cluster.write_input("three\n")
    assert (await cluster.run(cluster.spec("job-1", out="again"))).state == "SUCCEEDED", "as a new job"


async def test_a_job_that_is_not_over_stays(cluster: Any) -> None:
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    with pytest.raises(Conflict, match="job job-1 is not over") as refused:
        await cluster.nodes[N2].coordinator.purge("job-1")
    assert "ringmill job kill job-1" in refused.value.hint
    (cluster.folder / "flag").touch()
    assert (await cluster.finish()).state == "SUCCEEDED"


async def test_who_does_not_hear_of_it_is_named(cluster: Any) -> None:
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    cluster.down.add(N3)
    assert await cluster.nodes[N2].coordinator.purge("job-1") == [N3]


async def test_a_journal_that_cannot_be_deleted_keeps_its_job_in_the_list(cluster: Any) -> None:
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    is_away = [True]

    def away(key: bytes) -> None:
        if key.startswith(JOURNAL) and is_away[0]:
            raise Unavailable("no owner answers", outcome="failed")

    for node in cluster.nodes.values():
        node.registers.before_write = away
    with pytest.raises(Unavailable, match="job job-1 stays in the history") as refused:
        await cluster.nodes[N2].coordinator.purge("job-1")
    assert refused.value.outcome == "unknown"
    assert [view.job for view in (await cluster.nodes[N3].coordinator.all_views()).jobs] == ["job-1"]
    is_away[0] = False
    assert await cluster.nodes[N2].coordinator.purge("job-1") == []


async def another_coordinates(cluster: Any) -> Any:
    """Once n1, which has run a job, has handed over; n1 still has the job in memory."""
    await cluster.nodes[N1].coordinator.hand_over()
    node = (await cluster.nodes[N1].coordinator.coordinator()).node
    assert node != N1
    return cluster.nodes[node].coordinator


async def test_a_job_that_is_submitted_again_while_its_name_leaves_the_list_runs(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    coordinator = await another_coordinates(cluster)
    write, begins = JobIndex._write, asyncio.Event()

    async def slow_write(self: Any, rows: Any) -> None:
        if "job-1" in self.rows and "job-1" not in rows:
            begins.set()
            await cluster.until(lambda: "job-1" in coordinator._jobs)
        await write(self, rows)

    monkeypatch.setattr(JobIndex, "_write", slow_write)
    purging = asyncio.create_task(cluster.nodes[N3].coordinator.purge("job-1"))
    await begins.wait()
    await cluster.nodes[N3].coordinator.submit("job-1", cluster.spec(out="again").encode())
    assert await purging == []
    async with asyncio.timeout(10):
        while not (view := await coordinator.view("job-1")).is_over:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    assert view.state == "SUCCEEDED"


async def test_a_purge_that_was_cut_after_the_list_can_be_finished(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    coordinator = await another_coordinates(cluster)

    async def dies(job: str, journal: str) -> list[NodeId]:
        raise Unavailable("killed", outcome="unknown")

    with monkeypatch.context() as cut:
        cut.setattr(coordinator._purged, "tell", dies)
        with pytest.raises(Unavailable):
            await cluster.nodes[N3].coordinator.purge("job-1")
    assert "job-1" in cluster.nodes[N1].coordinator._jobs
    assert await cluster.nodes[N3].coordinator.purge("job-1") == []
    assert "job-1" not in cluster.nodes[N1].coordinator._jobs
    with pytest.raises(NotFound):
        await cluster.nodes[N3].coordinator.purge("job-1")


async def test_what_a_member_has_of_an_earlier_job_of_that_name_goes_too(cluster: Any) -> None:
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    coordinator = await another_coordinates(cluster)
    former = cluster.nodes[N1].coordinator._jobs["job-1"]
    assert await coordinator.purge("job-1") == []
    cluster.nodes[N1].coordinator._jobs["job-1"] = former  # n1 was away
    await coordinator.submit("job-1", cluster.spec(out="again").encode())
    async with asyncio.timeout(10):
        while not (await coordinator.view("job-1")).is_over:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    assert await coordinator.purge("job-1") == []
    assert "job-1" not in cluster.nodes[N1].coordinator._jobs


async def test_a_job_whose_leftovers_are_being_removed_is_waited_for(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_up, goes_on = JobDriver.clean_up, asyncio.Event()

    async def slow_clean_up(self: Any) -> None:
        await goes_on.wait()
        await clean_up(self)

    monkeypatch.setattr(JobDriver, "clean_up", slow_clean_up)
    cluster.write_input("one two\n")
    await cluster.submit(cluster.spec())
    await cluster.until(lambda: cluster.nodes[N1].coordinator._jobs["job-1"].is_over)
    purging = asyncio.create_task(cluster.nodes[N2].coordinator.purge("job-1"))
    await asyncio.sleep(0.1)
    assert not purging.done()
    goes_on.set()
    assert await purging == []


async def test_where_nobody_coordinates_a_member_of_an_earlier_release_is_passed_over(cluster: Any) -> None:
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    takers, asked = cluster.nodes[N2].coordinator._takers, []
    holders: list[NodeId | None] = [None, N1]

    async def ask(node: NodeId, method: str, body: bytes, timeout_s: float) -> bytes:
        asked.append(node)
        if node == N1:
            raise ProtocolMismatch("n1 does not answer 'job.purge'")
        return b"done"

    async def holder() -> NodeId | None:
        return holders.pop(0)

    takers.holder, takers._world = holder, FormerMember(takers._world, ask)
    assert await takers.have(JOB_PURGE, b"job-1", False) == (N2, b"done")
    assert asked == [N1, N2]
    with pytest.raises(ProtocolMismatch):  # it has the jobs
        await takers.have(JOB_PURGE, b"job-1", False)


class FormerMember:
    def __init__(self, world: Any, ask: Any) -> None:
        self._world, self.ask = world, ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)
