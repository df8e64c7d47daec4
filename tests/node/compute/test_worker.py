"""A worker runs attempts in real task processes and tells each way they can end by its name."""

import asyncio
import itertools
import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ringmill.cluster.adapters.files import os_files
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.adapters.tracing.otel_tracer import OtelTracer
from ringmill.cluster.errors import Conflict, InvalidArgument, Overloaded, Unavailable
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.reach import TaskContainment
from ringmill.cluster.mapreduce.messages.worker_messages import (
    Cancel,
    MapAssignment,
    Poll,
    PollAnswer,
    ReduceAssignment,
    RemoteSlice,
    encode_assignments,
    encode_reports,
)
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput, staging_folder
from ringmill.cluster.ports import Incoming, Priority, TaskProcess
from ringmill.cluster.traces.spans import Span, spanned
from ringmill.node.compute.shuffle_server import OutputId
from ringmill.node.compute.worker import Worker
from ringmill.node.node_options import AttemptTimeouts, WorkerOptions
from tests.node.compute.worker_bench import ME, SOURCE, TERM, Bench, once
from tests.node.held_keyspaces import HeldKeyspaces


async def test_a_map_and_its_reduces_give_the_words_of_the_text(bench: Bench) -> None:
    mapped = await bench.run(bench.map_assignment("b a b\nc a\n"))
    output = MapOutput.from_wire(mapped.body)
    figures = AttemptFigures.from_wire(mapped.figures)
    assert {"fetch", "start", "map", "write"} <= set(figures.phases) and figures.cpu_s > 0
    assert (mapped.kind, output.records_in, output.counters["lines"]) == ("done", 2, 2)
    text = b""
    spec = bench.spec("")
    os.mkdir(staging_folder(spec.output, spec.job))
    for partition, where in enumerate(output.partitions):
        piece = RemoteSlice(
            ME, 0, 1, where.offset, where.length, where.raw_bytes, where.records, where.crc32c
        )
        attempt = AttemptId("reduce", partition, 1)
        reduced = await bench.run(ReduceAssignment("j-1", attempt, TERM, ME, spec.encode(), 1, (piece,)))
        text += read(ReduceOutput.from_wire(reduced.body).file)
    assert sorted(text.splitlines()) == [b"a\t2", b"b\t2", b"c\t1"]


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_a_process_is_kept_for_the_next_attempt_of_the_same_code(bench: Bench) -> None:
    large = await bench.run(bench.map_assignment("poison\n", "large"))
    first = processes_of(bench)
    small = await bench.run(bench.map_assignment("b\n", number=2))
    assert processes_of(bench) == first
    peaks = [AttemptFigures.from_wire(report.figures).peak_bytes for report in (large, small)]
    assert peaks[0] > 100 << 20 > peaks[1] > 1 << 20, "each attempt has a peak of its own"
    await bench.fails(bench.map_assignment("poison\n", "raise", number=3))
    assert processes_of(bench) == []


@pytest.mark.parametrize("is_contained", [True, False])
async def test_a_process_is_of_one_job_and_ends_with_it(bench: Bench, *, is_contained: bool) -> None:
    """Its modules may keep what they have read of side data, which another job finds changed."""
    level = "some" if is_contained else "none"
    bench.worker._options = replace(
        bench.worker._options, containment=TaskContainment(level=level, is_on=is_contained, home="/nowhere")
    )
    first = await bench.run(bench.map_assignment("a\n"))
    assert AttemptFigures.from_wire(first.figures).containment == level
    [of_first] = processes_of(bench)
    other = bench.spec("", job="j-2")
    split = bench.map_assignment("a\n").split
    await bench.run(MapAssignment("j-2", AttemptId("map", 0, 1), TERM, ME, other.encode(), 1, split))
    assert of_first not in processes_of(bench), "what may write the folders of a job is of no other"
    await bench.ask("task.cancel", Cancel("j-2", TERM).encode())
    assert processes_of(bench) == []


async def test_a_file_system_of_outputs_that_hangs_does_not_hold_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.worker._options = replace(
        bench.worker._options, containment=TaskContainment(level="some", is_on=True, home="/nowhere")
    )
    parts = staging_folder(bench.spec("").output, "j-1")
    os.mkdir(parts)
    goes_on = threading.Event()
    hung: list[str] = []

    def hang(path: str) -> None:
        if path.startswith(parts):
            loop.call_soon_threadsafe(goes_on.set)
            assert goes_on.wait(5), "the loop waits for the folder of an output"
            goes_on.clear()
            hung.append(path)
        os.mkdir(path)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(bench.worker._files, "make_folder", hang)
    reduce, spec = AttemptId("reduce", 0, 1), bench.spec("").encode()
    reduced = await bench.run(ReduceAssignment("j-1", reduce, TERM, ME, spec, 1, ()))
    assert reduced.kind == "done", reduced.failure
    assert len(hung) == 3, "of the attempt, of its process, and of what it leaves"


async def test_outputs_that_hang_do_not_hold_up_what_reduces_of_other_jobs_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "map.run").write_bytes(b"bytes")
    bench.worker._shuffle.announce(OutputId("j-2", 0, 1), str(bench.folder / "map.run"))
    monkeypatch.setattr(os_files._OsReadFile, "pread_cached", lambda *_: None)
    goes_on, files = threading.Event(), bench.worker._files
    hung = [asyncio.ensure_future(files.off_loop(goes_on.wait, 10)) for _ in range(4)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(2):
            body = await bench.ask("shuffle.fetch", msgpack.packb(["j-2", 0, 1, 0, 5]))
    finally:
        goes_on.set()
        await asyncio.wait(hung)
    assert body == b"bytes"


async def test_while_requests_wait_a_task_that_has_not_begun_does_too(bench: Bench) -> None:
    asked, begun = [True, True, False], []

    def is_busy() -> bool:
        begun.append(bool(processes_of(bench)))
        return asked[len(begun) - 1]

    bench.worker._is_busy = is_busy
    await bench.run(bench.map_assignment("a\n"))
    assert begun == [False, False, False]
    assert processes_of(bench)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


def processes_of(bench: Bench) -> list[str]:
    pid = bench.processes.forkserver_pid
    if pid is None:
        return []
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


CASES = [
    ("raise", Cause.USER_ERROR, "KeyError: 'no such thing'"),
    ("exit", Cause.USER_ERROR, "left with exit code 0 before its task was done"),
    ("sys.exit", Cause.USER_ERROR, "SystemExit: enough"),
    ("memory", Cause.OUT_OF_MEMORY, "the limit is 600 MiB; this try had 600 MiB"),
    ("memory of children", Cause.OUT_OF_MEMORY, "the limit is 600 MiB; this try had 600 MiB"),
    ("delete", Cause.USER_ERROR, "the job's code deleted or locked the folder it works in"),
    ("forks", Cause.KILLED, "processes at once, the limit is 40"),
    ("forge", Cause.USER_ERROR, "the output '/etc/passwd' is not "),
    ("pipe", Cause.USER_ERROR, "wrote into the task's own pipe"),
    ("forge counters", Cause.USER_ERROR, "no counter: 'half' 0.5"),
    ("endless message", Cause.USER_ERROR, "sent a message of 4294967295 bytes"),
    ("half counts", Cause.USER_ERROR, "'float' object cannot be interpreted as an integer"),
    ("long error", Cause.USER_ERROR, "(10000012 characters)"),
]


@pytest.mark.parametrize(("mode", "cause", "words"), CASES, ids=[case[0] for case in CASES])
async def test_each_way_to_fail_has_its_cause_and_the_node_goes_on(
    bench: Bench, mode: str, cause: Cause, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # beside a fork bomb on a busy machine the forkserver may say nothing for the usual 5 s
    monkeypatch.setattr("ringmill.cluster.adapters.processes.task_processes._SILENT_PINGS", 60)
    if mode == "endless message":  # the process goes on, so nothing is gained by waiting for its end
        monkeypatch.setattr("ringmill.node.compute.attempt_runner._LAST_WORDS_S", 0.5)
    failure = await bench.fails(bench.map_assignment("fine\nhere is poison\nnever\n", mode))
    assert failure.cause is cause
    assert words in failure.message
    assert (await bench.run(bench.map_assignment("all well\n", number=2))).kind == "done"


async def test_a_users_error_shows_the_users_frames_and_the_record(bench: Bench) -> None:
    failure = await bench.fails(bench.map_assignment("fine\nhere is poison\nnever\n", "raise"))
    assert [frame.split(":")[0] for frame in failure.frames] == ["trials.py", "trials.py"]
    assert "raise KeyError" in failure.frames[-1]
    assert failure.position == f"{bench.folder}/input offset 5"


async def test_an_endless_loop_ends_for_want_of_progress(bench: Bench) -> None:
    bench.limit(no_progress_s=1.0)
    failure = await bench.fails(bench.map_assignment("fine\nhere is poison\n", "loop"))
    assert (failure.cause, failure.message) == (Cause.NO_PROGRESS, "no record finished within 1 s")


async def test_slow_records_are_told_one_by_one(bench: Bench) -> None:
    assert (await bench.run(bench.map_assignment("poison\n" * 4, "slow"))).kind == "done"
    positions = {report.body[3] for report in bench.progress} - {""}
    assert len(positions) >= 2, bench.progress


async def test_much_output_does_no_harm_and_its_tail_is_kept(bench: Bench) -> None:
    noisy = await bench.run(bench.map_assignment("poison\n", "print", number=2))
    assert noisy.kind == "done"
    assert noisy.output.endswith(b"xxx\n")
    assert len(noisy.output) == 64 * 1024


async def test_a_talkative_map_is_told_in_a_bounded_report(bench: Bench) -> None:
    report = await bench.run(bench.map_assignment("poison\n", "long log"))
    assert report.kind == "done"
    assert len(encode_reports([report])) < 1 << 20
    assert [len(line) for line in MapOutput.from_wire(report.body).log] == [500] * 1000


async def test_a_report_that_no_message_can_hold_is_told_as_a_failure(bench: Bench) -> None:
    bench.refuse_reports, bench.refusal = 1, InvalidArgument("a body of 9 bytes is over the frame limit of 8")
    failure = await bench.fails(bench.map_assignment("fine\n"))
    assert (failure.cause, "over the frame limit" in failure.message) == (Cause.ENGINE_ERROR, True)


async def test_a_wall_deadline_ends_what_only_seems_to_move(bench: Bench) -> None:
    bench.limit(wall_s=1.0)
    failure = await bench.fails(bench.map_assignment("poison\n", "loop"))
    assert (failure.cause, failure.message) == (Cause.TIMEOUT, "still running after 1 s")


async def test_an_attempt_that_reads_much_has_more_time(bench: Bench) -> None:
    bench.limit(wall_s=0.0, least_bytes_per_s=0.1)
    report = await bench.run(bench.map_assignment("a b\n"))
    assert report.kind == "done"
    hour = AttemptTimeouts()
    assert hour.reading(10).wall_s < 3601
    assert hour.reading(100 << 30).wall_s > 24 * 3600


async def test_a_killed_process_is_told_as_killed(bench: Bench) -> None:
    await bench.ask("task.start", encode_assignments([bench.map_assignment("poison\n", "loop")]))
    await until(lambda: len(processes_of(bench)) == 1)
    os.kill(int(processes_of(bench)[0]), signal.SIGKILL)
    report = await bench.reports.get()
    failure = TaskFailed.from_wire(report.failure)
    assert (failure.cause, AttemptFigures.from_wire(report.figures).peak_bytes > 1 << 20) == (
        Cause.KILLED,
        True,
    )
    assert "SIGKILL" in failure.message


async def test_an_order_that_comes_twice_is_one_attempt_and_a_refused_report_is_sent_again(
    bench: Bench,
) -> None:
    assignment = bench.map_assignment("a\n")
    bench.refuse_reports = 2
    for _ in range(2):
        answered = PollAnswer.decode(await bench.ask("task.start", encode_assignments([assignment])))
        assert (answered.start, answered.running) == ("1", (assignment.attempt,))
        assert answered.machine is None, "coordinators of earlier releases read no such answer"
    assert (await bench.reports.get()).kind == "done"
    await asyncio.sleep(0.05)
    assert bench.reports.empty()
    for asks, job in itertools.product((False, True), ("j-1", "j-2")):
        poll = Poll(job, TERM, asks_machine=asks)
        answered = PollAnswer.decode(await bench.ask("task.poll", poll.encode()))
        assert (answered.running, answered.machine is not None) == ((), asks)
    former = await bench.ask("task.poll", msgpack.packb([5, "j-1", TERM]))
    assert len(msgpack.unpackb(former)) == 4, "as coordinators of earlier releases poll and read"


async def test_a_worker_takes_attempts_for_its_slots_and_some_that_wait_beside_reports_that_do(
    bench: Bench,
) -> None:
    first = bench.map_assignment("a\n")

    async def order(numbers: range) -> None:
        orders = [replace(first, attempt=AttemptId("map", 0, number)) for number in numbers]
        await bench.ask("task.start", encode_assignments(orders))

    bench.refuse_reports = 1000
    await order(range(1, 4))
    await until(lambda: bench.worker.running == 0 and bench.worker._jobs["j-1"].reports.waiting == 3)
    bench.worker._is_busy = lambda: True
    await order(range(4, 69))
    with pytest.raises(Overloaded, match="n1 has accepted 65 attempts; at most 65, 64 more than its slots"):
        await order(range(69, 70))
    bench.worker._slots = 100
    await order(range(69, 168))
    await bench.ask("task.cancel", Cancel("j-1", TERM).encode())
    assert bench.worker.waiting == 0


async def test_a_cancelled_attempt_ends_without_a_report_and_a_dropped_job_leaves_no_file(
    bench: Bench,
) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    bench.worker._tracer = OtelTracer(provider)
    assignment = bench.map_assignment("poison\n", "loop")
    with spanned(Span(b"t" * 16 + b"submitsp" + b"\x01")):
        await bench.ask("task.start", encode_assignments([assignment]))
    await until(lambda: len(processes_of(bench)) == 1)
    await bench.ask("task.cancel", Cancel("j-1", TERM, assignment.attempt).encode())
    await until(lambda: not processes_of(bench))
    [span] = spans.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert (await bench.run(bench.map_assignment("a\n", number=2))).attempt.number == 2
    assert scratch(bench) == ["j-1"]
    await bench.ask("task.cancel", Cancel("j-1", TERM).encode())
    assert scratch(bench) == []


def scratch(bench: Bench) -> list[str]:
    return [each.name for each in (bench.folder / "scratch").iterdir()]


async def test_scratch_that_cannot_be_removed_ends_no_node(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: str, target: str) -> None:
        raise OSError(5, "Input/output error", target)

    await bench.run(bench.map_assignment("a\n"))
    monkeypatch.setattr(bench.worker._files, "rename", fail)
    await bench.ask("task.cancel", Cancel("j-1", TERM).encode())
    await asyncio.sleep(0.05)
    assert scratch(bench) == ["j-1"]
    assert (await bench.run(bench.map_assignment("a\n", number=2))).kind == "done"


async def test_a_worker_that_stops_takes_nothing_any_more(bench: Bench) -> None:
    async with Worker(
        ME, start="1", folder=str(bench.folder / "other"), slots=1, bundles=bench.worker._bundles,
        clock=SystemClock(), files=bench.worker._files, spawner=bench.processes, transport=bench.end,
        options=WorkerOptions(), keyspaces=HeldKeyspaces(),
    ) as worker:  # fmt: skip
        for method, handler in worker.handlers().items():
            bench.end.serve(method, handler)
    for method, body in (
        ("task.start", encode_assignments([bench.map_assignment("a\n")])),
        ("task.cancel", Cancel("j-1", TERM).encode()),
    ):
        with pytest.raises(Unavailable, match="stops") as refused:
            await bench.ask(method, body)
        assert refused.value.outcome == "failed"


async def test_a_worker_ended_by_a_bug_tells_that_bug_though_it_holds_a_job(bench: Bench) -> None:
    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as told:
        async with bench.another() as worker:
            worker._heard("j-1", ME)
            worker._group.create_task(bug())
            await asyncio.sleep(30)
    assert [type(error) for error in told.value.exceptions] == [ZeroDivisionError]


async def test_a_worker_that_has_ended_refuses_what_still_reaches_it(bench: Bench) -> None:
    async with bench.another() as ended:
        pass
    late = Incoming(
        ME, "task.start", encode_assignments([bench.map_assignment("a\n")]), 5.0, Priority.CONTROL
    )
    with pytest.raises(Unavailable, match="stops"):
        ended._on_start(late)


async def test_a_bundle_that_is_nowhere_or_no_bundle_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.node.compute.bundles._ARRIVES_WITHIN_S", 0.1)  # nobody sends it
    assignment = bench.map_assignment("a\n")
    bench.bundle = "0" * 64
    wrong = MapAssignment("j-1", assignment.attempt, TERM, ME, bench.spec("").encode(), 1, assignment.split)
    failure = await bench.fails(wrong)
    assert (failure.cause, failure.message) == (Cause.BAD_BUNDLE, "no bundle 000000000000 on this node")


async def test_a_task_process_knows_neither_grpc_nor_the_node(bench: Bench) -> None:
    told = b'("ringmill.cluster.mapreduce.kernel.task.", "ringmill.node.", "grpc.", "google.", "psutil.")'
    loaded = b'",".join(name for name in sorted(sys.modules) if f"{name}.".startswith(%s))' % told
    telling = SOURCE.replace(b'"no such thing"', loaded)
    code = build_bundle("trials", {"trials.py": telling}.get)
    bench.bundle = code.sha256
    await bench.worker._bundles.put(code.sha256, once(code.data))
    failure = await bench.fails(bench.map_assignment("poison\n", "raise"))
    names = failure.message.split(": ", 1)[1].strip("'").split(",")
    assert "ringmill.cluster.mapreduce.kernel.task" in names
    assert [name for name in names if name.split(".")[0] in {"grpc", "google", "psutil"}] == []
    assert [name for name in names if name.startswith("ringmill.node")] == ["ringmill.node"]


async def test_what_one_attempt_printed_is_not_told_of_the_next(bench: Bench) -> None:
    noisy = await bench.run(bench.map_assignment("poison\n", "print"))
    quiet = await bench.run(bench.map_assignment("fine\n", "print", number=2))
    assert (len(noisy.output), quiet.output) == (64 * 1024, b"")
    ends = [each for each in bench.classes if each is not Priority.CONTROL]
    assert ends == [Priority.WRITE], "a long report does not go before probes (rule F1)"
    assert bench.classes[-1] is Priority.CONTROL


async def test_a_job_that_stops_the_forkserver_costs_seconds_and_not_the_node(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.cluster.adapters.processes.task_processes._PING_EVERY_S", 0.4)
    assert (await bench.run(bench.map_assignment("poison\n", "stop"))).kind == "done"
    await bench.change_code()
    assert (await bench.run(bench.map_assignment("fine\n", number=2))).kind == "done"


async def test_a_worker_without_task_processes_offers_no_slot_until_they_are_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(**_: object) -> TaskProcess:
        raise ChildProcessError("no more processes")

    bench.worker._options = replace(bench.worker._options, orphan_after_s=0.5)
    await bench.run(bench.map_assignment("fine\n"))
    await bench.change_code()
    with monkeypatch.context() as patch:
        patch.setattr(bench.worker._pool.spawner, "start_task", refuse)
        failure = await bench.fails(bench.map_assignment("fine\n", number=2))
        assert (failure.cause, failure.message) == (
            Cause.ENGINE_ERROR, "no task process: no more processes",
        )  # fmt: skip
        assert await slots(bench) == 0
    await bench.worker._pool.try_again(bench.worker._folder)
    assert await slots(bench) == 1


async def slots(bench: Bench) -> int:
    return PollAnswer.decode(await bench.ask("task.poll", Poll("j-1", TERM).encode())).slots


async def test_a_job_may_ask_for_the_memory_of_its_tasks(bench: Bench) -> None:
    assignment = bench.map_assignment("poison\n", "memory")
    less = replace(bench.spec("memory"), task_memory_mib=400).encode()
    for number, factor, told in (
        (1, 1, r"the limit is 400 MiB; this try had 400 MiB, for the process and all that it started"),
        (2, 2, r"the limit is 800 MiB; this try had 800 MiB, for the process and all that it started; "
               r"job\(task_memory_mib=1600\) asks for more"),
    ):  # fmt: skip
        attempt = AttemptId("map", 0, number)
        failure = await bench.fails(MapAssignment("j-1", attempt, TERM, ME, less, factor, assignment.split))
        assert failure.cause is Cause.OUT_OF_MEMORY
        assert re.fullmatch(rf"it used \d+ MiB of memory.*, {told}", failure.message), failure.message


@pytest.mark.parametrize("is_fenced", [True, False])
async def test_an_order_of_a_former_coordinator_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_fenced: bool
) -> None:
    if not is_fenced:
        monkeypatch.setattr(Worker, "_check_term", lambda worker, term: None)
    assert (await bench.run(bench.map_assignment("a\n"))).kind == "done"
    await bench.ask("task.poll", Poll("j-1", TERM + 1).encode())
    former = Cancel("j-1", TERM)
    if is_fenced:
        with pytest.raises(Conflict, match=f"term {TERM}: n1 has one of term {TERM + 1}"):
            await bench.ask("task.cancel", former.encode())
        assert scratch(bench) == ["j-1"]
    else:
        await bench.ask("task.cancel", former.encode())
        assert scratch(bench) == [], "the job of the next coordinator is dropped"


async def test_an_order_in_the_answer_to_a_report_is_begun_and_one_of_a_former_coordinator_is_not(
    bench: Bench,
) -> None:
    first = bench.map_assignment("a\n")
    second = replace(first, attempt=AttemptId("map", 0, 2))
    bench.answer = encode_assignments([second])
    assert (await bench.run(first)).attempt == first.attempt
    bench.answer = encode_assignments([replace(first, attempt=AttemptId("map", 0, 3), term=TERM - 1)])
    async with asyncio.timeout(30):
        assert (await bench.reports.get()).attempt == second.attempt
    while PollAnswer.decode(await bench.ask("task.poll", Poll("j-1", TERM).encode())).running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert bench.reports.empty()
