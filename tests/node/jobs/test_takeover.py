"""A job outlives its coordinator: another one goes on, and what is finished is not run again."""

import asyncio
import errno
import logging
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Any

import msgpack
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer
from ringmill.cluster.errors import (
    DeadlineExceeded,
    DiskFull,
    InvalidArgument,
    NotFound,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import loss_of_staging
from ringmill.cluster.mapreduce.machine.journal_entries import JournalEntry, replay
from ringmill.cluster.mapreduce.machine.task_state import AttemptState
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.cluster.membership.stop_time import AFTER_CALLS_S, StopTime
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.traces.spans import Span, spanned
from ringmill.node.jobs import job_coordinator, job_driver, tenure
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.jobs.journal import cells
from ringmill.node.jobs.journal.cells import INDEX, entry_key
from ringmill.node.jobs.journal.job_index import IndexRow, listed_jobs
from ringmill.node.jobs.journal.job_journal import JobJournal
from ringmill.node.jobs.tenure import Tenure

LEASE_S = 1.5
N1, N2, N3 = map(NodeId, ("n1", "n2", "n3"))


def lose_the_coordinator(cluster: Any) -> None:
    """From now on n1 hears nobody, and nobody hears it."""
    cluster.wire.cut.add(N1)
    cluster.down.add(N1)


async def next_coordinator(cluster: Any) -> Any:
    others = [cluster.nodes[N2].coordinator, cluster.nodes[N3].coordinator]
    await cluster.until(lambda: any(each.views() for each in others))
    (found,) = [each for each in others if each.views()]
    return found


def done_twice(cluster: Any) -> list[tuple[str, int]]:
    """Tasks that two attempts have finished, by reports that were acknowledged."""
    attempts = defaultdict(set)
    for report in cluster.reports:
        if report.kind == "done":
            attempts[report.attempt.stage, report.attempt.task].add(report.attempt)
    return [task for task, done in attempts.items() if len(done) > 1]


def stop_the_journal_after_a_map(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as n1 hears of a finished map it can change no register any more, and loses the lease."""
    hear = JobDriver.hear

    def hear_and_stop(driver: JobDriver, report: AttemptReport) -> None:
        hear(driver, report)
        if report.kind == "done" and driver._world.node == N1:
            cluster.nodes[N1].registers.is_cut = lambda: True

    monkeypatch.setattr(JobDriver, "hear", hear_and_stop)


async def test_a_submission_goes_to_the_first_live_member_and_repeated_is_the_same_job(cluster: Any) -> None:
    cluster.write_input("a\n")
    node3 = cluster.nodes[N3]
    await node3.bundles.put(cluster.bundle, cluster._code())
    spec = cluster.spec()
    assert await cluster.submit(spec, by="n3") == N1
    assert await cluster.submit(spec, by="n2") == N1
    assert await cluster.submit(spec, by="n1") == N1
    assert (await cluster.finish()).state == "SUCCEEDED"
    with pytest.raises(InvalidArgument, match="taken by another job"):
        await cluster.submit(cluster.spec(mode="raise"))

    cluster.down.add(N1)
    cluster.wire.cut.add(N1)
    assert node3.coordinator.taker == N2
    assert await cluster.submit(cluster.spec("job-2", out="out2"), by="n3") == N2
    assert (await cluster.finish("job-2", at="n2")).state == "SUCCEEDED"
    assert cluster.parts("out2") == cluster.parts()


async def test_a_job_goes_on_with_another_coordinator_and_no_finished_task_runs_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.write_much()
    stop_the_journal_after_a_map(cluster, monkeypatch)
    await cluster.submit(cluster.spec())
    coordinator = await next_coordinator(cluster)
    async for view in coordinator.watch("job-1"):
        last = view
    assert (last.state, last.error) == ("SUCCEEDED", None)
    assert cluster.parts() == cluster.expected()
    assert any("has taken the job over" in line for line in last.summary.story)
    assert done_twice(cluster) == []
    other = cluster.nodes[N1].coordinator
    cluster.nodes[N1].registers.is_cut = lambda: False
    await cluster.until(lambda: listed_jobs(cluster.held[INDEX][1])[1]["job-1"].is_over)
    told = await other.view("job-1")
    assert (told.state, told.summary.records) == ("SUCCEEDED", last.summary.records)
    (listed,) = (await other.all_views()).jobs
    assert (listed.job, listed.state, listed.flow) == ("job-1", "SUCCEEDED", last.flow)
    written = sum(len(data) for name, data in cluster.parts().items() if name.startswith("part-"))
    assert (listed.flow.records_in, listed.flow.bytes_out) == (last.summary.records["map_in"], written)
    await cluster.until(lambda: other.views() == [])
    with pytest.raises(NotFound, match="were kept by"):
        await other.logs("job-1", "")


async def test_who_takes_a_traced_job_over_records_it_below_its_submission(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    for node in cluster.nodes.values():
        node.coordinator._world = replace(node.coordinator._world, tracer=OtelTracer(provider))
    cluster.write_much()
    stop_the_journal_after_a_map(cluster, monkeypatch)
    with spanned(Span(b"t" * 16 + b"submitsp" + b"\x01")):
        await cluster.submit(cluster.spec())
    coordinator = await next_coordinator(cluster)
    async for _ in coordinator.watch("job-1"):
        pass
    await cluster.until(lambda: not coordinator._tenure or not coordinator._tenure.open_jobs)
    found = [each for each in spans.get_finished_spans() if each.name == "ringmill.job"]
    (taken,) = [each for each in found if (each.attributes or {}).get("ringmill.job.taken_over")]
    assert taken.parent is not None and taken.parent.span_id == int.from_bytes(b"submitsp", "big")
    assert (taken.attributes or {})["ringmill.job.state"] == "SUCCEEDED"
    stages = [each for each in spans.get_finished_spans() if each.name == "ringmill.stage"]
    below = [each for each in stages if each.parent and each.parent.span_id == taken.context.span_id]
    assert (below[-1].attributes or {})["ringmill.stage"] == "reduce"


async def test_a_list_of_jobs_that_is_none_is_told_once_however_often_it_is_read(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.held[INDEX] = (1, b"no list of jobs")
    tries, open_tenure = [], Tenure.open

    async def counted(tenure: Tenure, *, is_wanted: bool) -> None:
        tries.append(tenure)
        await open_tenure(tenure, is_wanted=is_wanted)

    monkeypatch.setattr(Tenure, "open", counted)
    monkeypatch.setattr(job_coordinator, "_AGAIN_S", 0.01)
    with caplog.at_level(logging.WARNING):
        cluster.nodes[N1].coordinator._wanted.set()
        await cluster.until(lambda: len(tries) > 3)
    told = [record.getMessage() for record in caplog.records if "lease" in record.getMessage()]
    assert len(told) == 1 and "15 bytes are no list of jobs" in told[0], told


async def test_without_waiting_for_the_journal_a_finished_task_runs_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.write_much()
    stop_the_journal_after_a_map(cluster, monkeypatch)
    flush = JobJournal.flush

    async def at_once(journal: JobJournal) -> None:
        if journal.number == 0:
            await flush(journal)

    monkeypatch.setattr(JobJournal, "flush", at_once)
    await cluster.submit(cluster.spec())
    await next_coordinator(cluster)
    await cluster.until(lambda: bool(done_twice(cluster)))


async def test_a_reduce_that_failed_is_acknowledged_when_the_journal_has_it(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that its folder is looked for, which may take a while."""

    def slowly(*args: Any, **named: Any) -> RingmillError | None:
        time.sleep(0.2)
        return loss_of_staging(*args, **named)

    monkeypatch.setattr(job_driver, "loss_of_staging", slowly)
    cluster.write_input("a\n")
    answered = cluster.wire.answered
    kept: list[AttemptState] = []

    def spoil(sender: Any, to: Any, method: str, body: bytes) -> None:
        answered(sender, to, method, body)
        folder = cluster.folder / ".out.ringmill-job-1.1.1" / "reduce-0.1"
        if method == "task.start" and not kept and not folder.exists():
            folder.mkdir(parents=True)

    def note(report: AttemptReport) -> None:
        if report.kind == "failed":
            entries = [value for key, (_, value) in cluster.held.items() if key.startswith(b"ringmill/job/")]
            job = replay([JournalEntry.decode(each) for each in entries])
            assert job is not None
            kept.append(job.machine.reduces[report.attempt.task].attempts[0].state)

    cluster.wire.answered, cluster.on_report = spoil, note
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    assert kept == [AttemptState.FAILED]


async def test_an_output_shows_when_the_list_has_its_job(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of a job that is in no list is not sealed by who takes the jobs over."""
    monkeypatch.setattr(cells, "_LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(tenure, "_KEPT_WITHIN_S", 30.0)  # on a busy machine a few refusals take that long
    registers = cluster.nodes[N1].registers
    refused: list[int] = []

    def refuse(key: bytes) -> None:
        if key == INDEX and cluster.held.get(INDEX):  # not the first change, which seals it
            reduced = sum(each.kind == "done" and each.attempt.stage == "reduce" for each in cluster.reports)
            refused.extend([reduced] * (reduced == 3))
            if len(refused) < 20 and not (cluster.folder / "out").exists():
                raise Unavailable("no owner answers", outcome="failed")
            registers.before_write = lambda key: None

    registers.before_write = refuse
    cluster.write_input("a\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    assert len(refused) == 20


async def test_a_kill_that_cannot_be_noted_may_not_come_about(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coordinator ends it, but the next one would go on with it."""
    monkeypatch.setattr(job_coordinator, "_NOTED_TIMEOUT_S", 0.1)
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    cluster.nodes[N1].registers.is_cut = lambda: True
    with pytest.raises(DeadlineExceeded, match="it may go on") as raised:
        await cluster.nodes[N1].coordinator.kill("job-1")
    assert raised.value.outcome == "unknown"
    cluster.nodes[N1].registers.is_cut = lambda: False
    assert (await cluster.finish()).state == "KILLED"


class Ahead(SystemClock):
    def wall(self) -> float:
        return super().wall() + 3600.0


async def test_a_handover_moves_a_job_and_its_attempts_go_on(cluster: Any) -> None:
    for node in (N2, N3):
        coordinator = cluster.nodes[node].coordinator
        coordinator._world = replace(coordinator._world, clock=Ahead())
    cluster.write_input("one poison two\n", "three four\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    former = await cluster.nodes[N3].coordinator.coordinator()
    now = await cluster.nodes[N3].coordinator.hand_over()
    assert (former.node, now.term, now.open_jobs) == (N1, former.term + 1, ("job-1",))
    (cluster.folder / "flag").touch()
    assert now.node != N1
    await cluster.until(lambda: bool(cluster.nodes[now.node].coordinator.views()))
    view = await cluster.finish(at=now.node)
    assert (view.state, view.summary.retried) == ("SUCCEEDED", 0)
    assert view.seconds < 60, "whatever the own clock of who goes on says"
    assert cluster.parts() == cluster.expected()


async def test_a_full_disk_of_who_takes_a_job_over_ends_no_node(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.node.jobs.tenure._CODE_TRIES", 1)
    create, is_full = cluster.files.create, [False]

    def full(path: str) -> Any:
        if is_full[0] and path.endswith(".arriving"):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return create(path)

    monkeypatch.setattr(cluster.files, "create", full)
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    is_full[0] = True
    for node in (N2, N3):
        with suppress(FileNotFoundError):
            cluster.files.unlink(cluster.nodes[node].bundles.path(cluster.bundle))
    now = await cluster.nodes[N3].coordinator.hand_over()
    assert now.node != N1
    coordinator = cluster.nodes[now.node].coordinator
    await cluster.until(lambda: bool(coordinator.views()) or coordinator._loops[0].done())
    await coordinator.kill("job-1")
    assert (await cluster.finish(at=now.node)).state == "KILLED"


async def test_a_node_without_room_for_the_code_leaves_a_new_job_to_another_one(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(sha256: str, source: NodeId) -> str:
        raise DiskFull("bundle cannot be written: no space left", outcome="failed")

    monkeypatch.setattr(cluster.nodes[N1].bundles, "ensure", full)
    await cluster.nodes[N2].bundles.put(cluster.bundle, cluster._code())
    cluster.write_input("a\n")
    assert await cluster.submit(cluster.spec(), by=N2) == N2
    assert (await cluster.finish(at=N2)).state == "SUCCEEDED"


async def test_a_coordinator_that_leaves_service_has_another_one_take_its_jobs(cluster: Any) -> None:
    cluster.write_input("one poison two\n", "three four\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    await cluster.nodes[N1].coordinator.leave()
    now = await cluster.nodes[N3].coordinator.coordinator()
    assert now.node not in (None, N1)
    (cluster.folder / "flag").touch()
    view = await cluster.finish(at=now.node)
    assert (view.state, view.summary.retried) == ("SUCCEEDED", 0)


async def test_a_coordinator_that_was_cut_off_gives_its_jobs_up(cluster: Any) -> None:
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    former = cluster.nodes[N1].coordinator
    listed = await cluster.nodes[N2].coordinator.all_views()
    assert [(view.job, view.state, view.node) for view in listed.jobs] == [("job-1", "OPEN", "")]
    assert listed.term == 1
    watching = asyncio.create_task(watched(former))
    lose_the_coordinator(cluster)
    with pytest.raises(RingmillError, match="another coordinator"):
        await watching
    coordinator = await next_coordinator(cluster)
    cluster.wire.cut.clear()
    cluster.down.clear()
    (cluster.folder / "flag").touch()
    async for view in coordinator.watch("job-1"):
        last = view
    assert last.state == "SUCCEEDED"
    assert cluster.parts() == cluster.expected()


async def watched(coordinator: Any) -> None:
    async for _ in coordinator.watch("job-1"):
        pass


async def test_a_register_that_hangs_does_not_use_up_the_time_of_a_stop(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, stop_time = cluster.nodes[N1], StopTime(SystemClock())
    async with asyncio.timeout(2):
        async with node.new_coordinator(stop_time=stop_time) as coordinator:
            coordinator._waiting = 1
            coordinator._wanted.set()
            await cluster.until(lambda: coordinator._tenure is not None)
            monkeypatch.setattr(node.registers, "_reach", asyncio.Event().wait)
            stop_time.begin(AFTER_CALLS_S + 0.05)


async def test_a_coordinator_that_is_shut_out_as_it_begins_leaves_its_node_running(cluster: Any) -> None:
    """Between the lease and its first change of the list another one has had the jobs."""
    registers = cluster.nodes[N1].registers

    def come_between(key: bytes) -> None:
        if key == INDEX:
            registers.before_write = lambda key: None
            cluster.held[INDEX] = 1, packed_list(term=2)

    registers.before_write = come_between
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"


@pytest.mark.parametrize("entry", [b"damaged", msgpack.packb([99])], ids=["damaged", "of another version"])
async def test_a_job_whose_journal_cannot_be_read_ends_and_another_one_runs(
    cluster: Any, entry: bytes
) -> None:
    row = IndexRow("job-1", "job-1.1.1", "trials:counting", "/out", 1.0)
    cluster.held[INDEX] = 1, packed_list(row, term=0)
    cluster.held[entry_key(row.journal, 0)] = 1, entry
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec("job-2"))).state == "SUCCEEDED"
    listed = {view.job: view.state for view in (await cluster.nodes[N2].coordinator.all_views()).jobs}
    assert listed == {"job-1": "FAILED", "job-2": "SUCCEEDED"}
    (lost,) = [v for v in (await cluster.nodes[N2].coordinator.all_views()).jobs if v.job == "job-1"]
    assert "its journal cannot be gone on with" in lost.why
    assert listed_jobs(cluster.held[INDEX][1])[1]["job-1"].entries == 1, "so that it can be deleted one day"


async def test_of_a_job_that_was_never_accepted_nothing_is_kept(cluster: Any) -> None:
    row = IndexRow("job-1", "job-1.1.1", "trials:counting", "/out", 1.0)
    cluster.held[INDEX] = 1, packed_list(row, term=0)
    part = JournalEntry(1, 0, 0, "snapshot", 0, 2, b"its second piece was never written")
    cluster.held[entry_key(row.journal, 0)] = 1, part.encode()
    registers = cluster.nodes[N1].registers
    failing = iter((True, True))

    def fail_twice(key: bytes) -> None:
        if key == entry_key(row.journal, 1) and cluster.held.get(key) and next(failing, False):
            raise Unavailable("no owner answers", outcome="failed")

    registers.before_write = fail_twice
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec("job-2"))).state == "SUCCEEDED"
    await cluster.until(lambda: "job-1" not in listed_jobs(cluster.held[INDEX][1])[1])
    assert next(failing, None) is None, "it is tried again"
    left = {key: value for key, (_, value) in cluster.held.items() if key.startswith(b"ringmill/job/job-1.")}
    assert list(left.values()) == [None, None], "the piece and the seal"


async def test_a_journal_that_was_deleted_before_its_job_was_dropped_does_not_end_a_tenure(
    cluster: Any,
) -> None:
    row = IndexRow("job-1", "job-1.1.1", "trials:counting", "/out", 1.0)
    cluster.held[INDEX] = 1, packed_list(row, term=0)
    cluster.held[entry_key(row.journal, 0)] = 2, None
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec("job-2"))).state == "SUCCEEDED"
    await cluster.until(lambda: "job-1" not in listed_jobs(cluster.held[INDEX][1])[1])


def packed_list(*rows: IndexRow, term: int) -> bytes:
    return bytes(msgpack.packb([2, term, [astuple(row) for row in rows]]))


async def test_a_coordinator_that_plans_late_leaves_the_job_to_the_one_that_has_it(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """n1 is stopped while it plans, and goes on when the reduces of n2 write in their folders."""
    cluster.write_input("one poison two\n")
    plan, goes_on = JobStepRunner.plan, asyncio.Event()

    async def stopped(steps: JobStepRunner, spec: JobSpec) -> Any:
        if steps is cluster.nodes[N1].coordinator._world.job_steps:
            lose_the_coordinator(cluster)
            await goes_on.wait()
        return await plan(steps, spec)

    monkeypatch.setattr(JobStepRunner, "plan", stopped)
    spec = cluster.spec(mode="wait")
    asked = Incoming(N1, "job.submit", msgpack.packb(["job-1", spec.encode()]), 1e9, Priority.CONTROL)
    late = asyncio.ensure_future(cluster.nodes[N1].coordinator._on_submit(asked))
    await cluster.until(lambda: N1 in cluster.wire.cut)
    await cluster.nodes[N2].bundles.put(cluster.bundle, cluster._code())
    holder = await cluster.submit(spec, by=N2)
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    goes_on.set()
    with pytest.raises(Unavailable, match="not held any more"):
        await late
    (cluster.folder / "flag").touch()
    view = await cluster.finish(at=holder)
    assert (view.state, cluster.parts()) == ("SUCCEEDED", cluster.expected())
    assert cluster.leftovers() == []
