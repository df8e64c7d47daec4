"""Whole jobs over three workers with real task processes give the bytes of one process, whatever fails."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from ringmill.cluster.errors import InvalidArgument, NotFound, ProtocolMismatch, from_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.machine import backups
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport, Cancel, decode_assignments
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.cluster.ports import Priority, TaskProcess
from ringmill.node.compute import shuffle_client
from ringmill.node.compute.worker import Worker
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.node_options import CoordinatorOptions

HAS_OWN_FORKSERVERS = True
N1, N2, N3 = map(NodeId, ("n1", "n2", "n3"))


async def test_a_job_gives_the_bytes_of_a_local_run_and_leaves_nothing_else(cluster: Any) -> None:
    cluster.write_much()
    view = await cluster.run(cluster.spec())
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert cluster.parts() == cluster.expected()
    assert cluster.leftovers() == []
    assert [node.scratch() for node in cluster.nodes.values()] == [[], [], []]
    summary = view.summary
    assert summary.records["map_in"] == summary.counters["lines"] == 36_000
    assert [(stage.name, stage.done) for stage in summary.stages] == [
        ("map", summary.stages[0].total),
        ("reduce", 3),
    ]
    assert summary.retried == 0
    assert {report.node for report in cluster.reports} == {N1, N2, N3}


async def test_killed_task_processes_run_again(cluster: Any) -> None:
    cluster.write_input("one poison two\n" * 3, "three four\n")
    await cluster.submit(cluster.spec(mode="wait"))
    everyone = cluster.nodes.values()
    await cluster.until(lambda: any(node.task_pids() for node in everyone))
    await asyncio.sleep(0.2)
    for pid in [pid for node in everyone for pid in node.task_pids()]:
        os.kill(pid, signal.SIGKILL)
    raise_flag(cluster)
    view = await cluster.finish()
    assert view.state == "SUCCEEDED"
    assert view.summary.retried >= 1
    assert any("SIGKILL" in line for line in view.summary.story)
    assert cluster.parts() == cluster.expected()


def raise_flag(cluster: Any) -> None:
    (cluster.folder / "flag").touch()


async def test_a_worker_that_vanishes_after_its_map_committed_loses_nothing(cluster: Any) -> None:
    # One map a node, as backups begin when two of three are done: the first report from another node counts.
    cluster.write_input(*["poison\n" + "one two three four\n" * 20_000] * 3)

    def vanish(report: AttemptReport) -> None:
        if report.node != N1 and report.kind == "done" and not cluster.down:
            cluster.wire.cut.add(report.node)
            cluster.down.add(report.node)
            cluster.nodes[N1].coordinator.wake()

    cluster.on_report = vanish
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: all(node.task_pids() for node in cluster.nodes.values()))
    raise_flag(cluster)
    view = await cluster.finish()
    assert view.state == "SUCCEEDED"
    (gone,) = cluster.down
    assert any(f"node {gone} is down" in line for line in view.summary.story)
    assert view.summary.retried >= 1
    assert cluster.parts() == cluster.expected()


async def test_a_restarted_worker_is_seen_by_its_start_and_its_work_is_done_again(cluster: Any) -> None:
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    (busy,) = [node for node in cluster.nodes.values() if node.task_pids()]
    for task in busy.worker._jobs["job-1"].attempts.values():
        task.cancel()
    async with busy.new_worker("2"):
        raise_flag(cluster)
        view = await cluster.finish()
    assert view.state == "SUCCEEDED"
    assert view.summary.retried >= 1
    assert cluster.parts() == cluster.expected()


async def test_a_stray_on_one_node_does_not_hide_that_another_has_forgotten_an_attempt_of_its_name(
    cluster: Any,
) -> None:
    orders: list[bytes] = []

    def note(sender: NodeId, to: NodeId, method: str, body: bytes) -> None:
        if method == "task.start":
            orders.append(body)

    cluster.wire.answered = note
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    everyone = cluster.nodes.values()
    await cluster.until(lambda: any(node.task_pids() for node in everyone))
    (busy,) = [node for node in everyone if node.task_pids()]
    other = next(node for node in everyone if node is not busy)
    end = cluster.nodes[N1].end
    await end.call(other.name, "task.start", orders[0], timeout_s=5.0, priority=Priority.CONTROL)
    await cluster.until(lambda: bool(other.task_pids()))
    await cluster.until(lambda: not other.task_pids())  # the coordinator has found and stopped the stray
    [order] = decode_assignments(orders[0])
    lost = Cancel("job-1", order.term, order.attempt)
    await end.call(busy.name, "task.cancel", lost.encode(), timeout_s=5.0, priority=Priority.CONTROL)
    raise_flag(cluster)
    view = await cluster.finish()
    assert view.state == "SUCCEEDED"
    assert f"map-0.1 on {busy.name} failed, LostNode: {busy.name} does not know the attempt any more" in (
        view.summary.story
    )


async def test_a_node_that_is_up_but_answers_no_poll_is_given_up(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "LEAST_S", 60.0)  # else a backup may come first, and end the job
    cluster.write_input(*["poison\n" + "one two three four\n" * 30_000] * 3)
    coordinator = cluster.nodes[N1].coordinator
    coordinator._world = replace(coordinator._world, options=CoordinatorOptions(silent_after_s=1.0))
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: all(node.task_pids() for node in cluster.nodes.values()))
    cluster.wire.cut.add(N3)
    raise_flag(cluster)
    view = await cluster.finish()
    assert view.state == "SUCCEEDED"
    assert any("node n3 is down" in line for line in view.summary.story), view.summary.story
    assert cluster.parts() == cluster.expected()


async def test_a_map_output_that_cannot_be_fetched_is_made_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffle_client, "_PAUSE_S", 0.01)
    cluster.write_much()
    lost: list[AttemptReport] = []

    def lose(report: AttemptReport) -> None:
        if report.kind == "done" and not lost:
            lost.append(report)
            cluster.nodes[report.node].worker._shuffle.forget("job-1")

    cluster.on_report = lose
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED"
    assert f"{lost[0].attempt} on {lost[0].node} runs again: its output cannot be read" in view.summary.story
    assert cluster.parts() == cluster.expected()


def damage(report: AttemptReport) -> None:
    """Flip one bit in the first slice that holds records."""
    output = MapOutput.from_wire(report.body)
    where = next(each for each in output.partitions if each.length)
    data = bytearray(Path(output.file).read_bytes())
    data[where.offset + where.length - 1] ^= 1
    Path(output.file).write_bytes(data)


@pytest.fixture
def damaged(cluster: Any) -> list[AttemptReport]:
    hit: list[AttemptReport] = []

    def hurt(report: AttemptReport) -> None:
        if report.kind == "done" and not hit:
            hit.append(report)
            damage(report)

    cluster.on_report = hurt
    return hit


async def test_a_damaged_map_output_is_made_again(cluster: Any, damaged: list[AttemptReport]) -> None:
    cluster.write_much()
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED"
    assert any("has checksum" in line for line in view.summary.story)
    assert (
        f"{damaged[0].attempt} on {damaged[0].node} runs again: its output cannot be read"
        in view.summary.story
    )
    assert cluster.parts() == cluster.expected()


async def test_without_the_checksum_of_slices_a_damaged_output_ends_the_job(
    cluster: Any, damaged: list[AttemptReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ablation: nobody learns which map has to run again."""
    monkeypatch.setattr(shuffle_client, "_is_sound", lambda piece, checksum: True)
    cluster.write_much()
    await cluster.submit(cluster.spec())
    await cluster.until(lambda: sum("reduce" in line for line in story(cluster)) >= 2)
    assert not any("runs again" in line for line in story(cluster))
    await cluster.nodes[N1].coordinator.kill("job-1")


def story(cluster: Any) -> tuple[str, ...]:
    lines: tuple[str, ...] = cluster.nodes[N1].coordinator.views()[0].summary.story
    return lines


async def test_a_users_error_fails_the_job_in_few_lines_when_it_comes_again(cluster: Any) -> None:
    cluster.write_input("fine\nhere is poison\n")
    view = await cluster.run(cluster.spec(mode="raise"))
    assert view.state == "FAILED"
    error = from_wire(view.error)
    lines = str(error).splitlines()
    assert len(lines) < 12
    assert "map-0, attempt 2: UserError: KeyError: 'no such thing'" in lines[0]
    assert f"{cluster.folder}/in/0.txt offset 5" in lines[0]
    assert lines[1].strip() == "record: 'here is poison'"
    assert lines[-1].strip().startswith("trials.py:")
    assert len(cluster.reports) == 2
    assert not (cluster.folder / "out").exists()
    assert cluster.leftovers() == []
    logs = await cluster.nodes[N1].coordinator.logs("job-1", "map-0")
    assert [(log.attempt, log.cause) for log in logs] == [(n, "UserError") for n in (1, 2)]
    assert b"raise KeyError" in logs[0].output
    assert b"(as map-0.1)" in logs[1].output
    assert b"raise KeyError" not in logs[1].output, "the same failure is told in full once"
    assert b"peak memory" in logs[0].output
    assert "ringmill job replay job-1 map-0 --pdb" in error.hint
    found = await cluster.nodes[N3].coordinator.task("job-1", "map-0")
    split = Split.from_wire(msgpack.unpackb(found.split))
    assert [piece.file.path for piece in split.pieces] == [f"{cluster.folder}/in/0.txt"]
    assert JobSpec.decode(found.spec).params["mode"] == "raise"
    with pytest.raises(NotFound, match="map-0 to map-0"):
        await cluster.nodes[N3].coordinator.task("job-1", "map-1")


async def test_a_job_ends_when_only_the_node_where_its_task_failed_has_slots(cluster: Any) -> None:
    for node in (N1, N3):
        cluster.nodes[node].worker._slots = 0
    cluster.write_input("here is poison\n")
    async with asyncio.timeout(20):
        view = await cluster.run(cluster.spec(mode="raise"))
    assert view.state == "FAILED"
    assert [report.node for report in cluster.reports] == [N2, N2]


async def test_a_killed_job_stops_its_processes_and_leaves_no_output(cluster: Any) -> None:
    cluster.write_input("poison\n")
    await cluster.submit(cluster.spec(mode="loop"))
    everyone = cluster.nodes.values()
    await cluster.until(lambda: any(node.task_pids() for node in everyone))
    await cluster.nodes[N1].coordinator.kill("job-1")
    view = await cluster.finish()
    assert (view.state, from_wire(view.error).code) == ("KILLED", "JOB_KILLED")
    await cluster.until(lambda: not any(node.task_pids() for node in everyone))
    assert cluster.leftovers() == []
    assert not (cluster.folder / "out").exists()


async def test_what_cannot_be_is_refused_by_name_before_anything_runs(cluster: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"{cluster.folder}/in"):
        await cluster.submit(cluster.spec())
    cluster.write_input("a\n")
    (cluster.folder / "out").mkdir()
    with pytest.raises(InvalidArgument, match=f"{cluster.folder}/out exists"):
        await cluster.submit(cluster.spec())
    with pytest.raises(InvalidArgument, match="description of another"):
        await cluster.nodes[N1].coordinator.submit("other", cluster.spec().encode())
    with pytest.raises(NotFound, match="no job 'job-1'"):
        await cluster.nodes[N1].coordinator.view("job-1")
    assert cluster.leftovers() == []


async def test_overwrite_replaces_a_former_output_whole(cluster: Any) -> None:
    cluster.write_input("a b\n")
    await cluster.run(cluster.spec())
    cluster.write_input("c\n")
    view = await cluster.run(cluster.spec("job-2", overwrite=True))
    assert view.state == "SUCCEEDED"
    assert b"".join(cluster.parts()[f"part-0000{n}"] for n in range(3)) == b"c\t1\n"
    assert cluster.leftovers() == []


async def test_an_empty_input_makes_empty_parts(cluster: Any) -> None:
    cluster.write_input("")
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED"
    assert cluster.parts() == cluster.expected()


async def test_a_submission_without_its_code_is_refused(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.node.compute.bundles._ARRIVES_WITHIN_S", 0.1)  # nobody sends it
    cluster.write_input("a\n")
    cluster.bundle = "0" * 64
    for node in ("n1", "n3"):
        with pytest.raises(NotFound, match="no bundle 000000000000"):
            await cluster.submit(cluster.spec(), by=node)


async def test_workers_drop_the_job_of_a_coordinator_that_is_gone(cluster: Any) -> None:
    cluster.write_input("poison\n", "poison\n")
    node2 = cluster.nodes[N2]
    await node2.worker.__aexit__(None, None, None)
    async with node2.new_worker("2", orphan_after_s=0.5):
        cluster.down |= {N1, N3}  # nobody but n2 works, for a coordinator on n1
        ask = msgpack.packb(["job-1", cluster.spec(mode="loop").encode()])
        await node2.end.call(N1, "job.submit", ask, timeout_s=5.0, priority=Priority.CONTROL)
        await cluster.until(lambda: bool(node2.task_pids()))
        cluster.wire.cut.add(N1)
        await cluster.until(lambda: not node2.task_pids() and node2.scratch() == [])
        cluster.wire.cut.clear()
        await cluster.nodes[N1].coordinator.kill("job-1")
        await cluster.finish()


@pytest.mark.parametrize("is_told", [True, False])
async def test_what_a_worker_has_dropped_while_its_link_was_away_is_done_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    if not is_told:
        monkeypatch.setattr(Worker, "_start_of_new", lambda worker: worker._start)
    monkeypatch.setattr(backups, "LEAST_S", 60.0)
    cluster.write_input(*["one two three four\n" * 30_000] * 2, "poison\n" + "one two three four\n" * 30_000)
    node2, coordinator = cluster.nodes[N2], cluster.nodes[N1].coordinator
    coordinator._world = replace(coordinator._world, options=CoordinatorOptions(poll_every_s=0.2))
    await node2.worker.__aexit__(None, None, None)
    async with node2.new_worker("2", orphan_after_s=1.0) as worker:
        cluster.down.add(N3)
        await cluster.submit(cluster.spec(mode="wait"))
        await cluster.until(lambda: any(report.node == N2 for report in cluster.reports))
        cluster.wire.cut.add(N2)
        await cluster.until(lambda: not worker._jobs)
        cluster.wire.cut.clear()
        run = coordinator._jobs["job-1"]
        left_at = run._met_at[N2]
        await cluster.until(lambda: run._met_at[N2] > left_at)
        assert all(task.winner is None or task.winner.node != N2 for task in run._machine.maps) == is_told
        raise_flag(cluster)
        if is_told:
            assert (await cluster.finish()).state == "SUCCEEDED"
            assert cluster.parts() == cluster.expected()
        await coordinator.kill("job-1")
        await cluster.finish()


async def test_an_output_that_somebody_makes_meanwhile_is_not_overwritten(cluster: Any) -> None:
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    (cluster.folder / "out").mkdir()
    raise_flag(cluster)
    view = await cluster.finish()
    assert (view.state, from_wire(view.error).code) == ("FAILED", "INVALID_ARGUMENT")
    assert cluster.parts() == {}
    assert cluster.leftovers() == []


async def test_two_submits_at_once_are_one_job(cluster: Any) -> None:
    cluster.write_input("a\n")
    assert (
        await asyncio.gather(*(cluster.submit(cluster.spec(), by=node) for node in ("n1", "n1", "n1")))
        == [N1] * 3
    )
    assert (await cluster.finish()).state == "SUCCEEDED"
    assert len(cluster.nodes[N1].coordinator.views()) == 1


async def test_a_job_that_a_stopping_node_was_still_planning_goes_to_the_next(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, is_planning, may_go_on = JobStepRunner.plan, asyncio.Event(), asyncio.Event()

    async def plan_slowly(steps: JobStepRunner, spec: JobSpec) -> InputPlan:
        is_planning.set()
        await may_go_on.wait()
        return await plan(steps, spec)

    monkeypatch.setattr(JobStepRunner, "plan", plan_slowly)
    cluster.write_input("a\n")
    coordinator = cluster.nodes[N1].new_coordinator()
    async with coordinator:
        submitting = asyncio.create_task(coordinator.submit("job-1", cluster.spec().encode()))
        await is_planning.wait()
    may_go_on.set()
    assert await submitting == N2
    assert coordinator.views() == []
    assert (await cluster.finish(at="n2")).state == "SUCCEEDED"


async def test_a_node_wrongly_taken_for_dead_can_deliver_late_and_nothing_counts_twice(cluster: Any) -> None:
    cluster.write_input("one poison two\n" * 3)
    await cluster.submit(cluster.spec(mode="wait"))
    everyone = cluster.nodes.values()
    await cluster.until(lambda: any(node.task_pids() for node in everyone))
    (first,) = [node for node in everyone if node.task_pids()]
    cluster.down.add(first.name)
    cluster.nodes[N1].coordinator.wake()
    await cluster.until(lambda: sum(bool(node.worker._jobs) for node in everyone) == 2)
    raise_flag(cluster)
    view = await cluster.finish()
    assert view.state == "SUCCEEDED"
    assert view.summary.tasks[0].attempts == 2
    assert view.summary.records["map_in"] == view.summary.counters["lines"] == 3
    assert cluster.parts() == cluster.expected()
    assert cluster.leftovers() == []


@pytest.mark.parametrize(
    "answer", [b"", b"\xff", msgpack.packb([2, "1", -1, []]), msgpack.packb([2, "1", "9", 7])]
)
async def test_a_worker_whose_answers_are_none_is_not_used_and_the_job_goes_on(
    cluster: Any, answer: bytes
) -> None:
    cluster.write_much()
    for method in ("task.poll", "task.start"):
        cluster.nodes[N3].end.serve(method, lambda incoming: answer)
    view = await cluster.run(cluster.spec())
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert cluster.parts() == cluster.expected()


async def test_a_forged_report_moves_no_foreign_file_into_the_output(cluster: Any) -> None:
    """The forger knows the worker's start, and names a file of its own as the part of a reduce."""
    cluster.write_input("one two\n")
    refusals: list[ProtocolMismatch] = []
    secret = cluster.folder / "secret"
    secret.write_text("mine alone")
    answered = cluster.wire.answered

    def forge(sender: NodeId, to: NodeId, method: str, body: bytes) -> None:
        answered(sender, to, method, body)
        if method != "task.start" or refusals:
            return
        attempt = decode_assignments(body)[0].attempt
        if attempt.stage != "reduce":
            return
        part = [attempt.task, str(secret), 10, 0, {}, 0, 0, 0, []]
        with pytest.raises(ProtocolMismatch, match="instead of") as refused:
            cluster.nodes[N1].coordinator._jobs["job-1"].hear(
                AttemptReport("job-1", attempt, to, "1", "done", part)
            )
        refusals.append(refused.value)

    cluster.wire.answered = forge
    view = await cluster.run(cluster.spec())
    assert (view.state, len(refusals), secret.read_text()) == ("SUCCEEDED", 1, "mine alone")
    assert cluster.parts() == cluster.expected()


async def test_a_node_that_cannot_make_processes_takes_no_job_and_runs_no_task(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(**_: object) -> TaskProcess:
        raise ChildProcessError("no more processes")

    monkeypatch.setattr(cluster.nodes[N1].processes, "start_task", refuse)
    cluster.write_input(*["poison\n" + "one two three four\n" * 20_000] * 4)
    await cluster.nodes[N2].bundles.put(cluster.bundle, cluster._code())
    assert await cluster.submit(cluster.spec(mode="wait"), by="n3") == N2
    # Else one of the two may do all before the other begins.
    await cluster.until(lambda: all(cluster.nodes[node].task_pids() for node in (N2, N3)))
    raise_flag(cluster)
    view = await cluster.finish(at="n2")
    assert (view.state, cluster.parts() == cluster.expected()) == ("SUCCEEDED", True)
    assert {report.node for report in cluster.reports if report.kind == "done"} == {N2, N3}


async def test_a_plan_whose_process_was_killed_is_made_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = cluster.nodes[N1].processes
    killed: list[int] = []
    start_task = processes.start_task

    async def kill_first(**wanted: Any) -> TaskProcess:
        process: TaskProcess = await start_task(**wanted)
        if not killed:
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        return process

    monkeypatch.setattr(processes, "start_task", kill_first)
    cluster.write_input("a\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
