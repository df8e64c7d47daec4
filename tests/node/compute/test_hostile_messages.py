"""What any local user can send to a node's peer link: a worker deletes, moves and makes nothing that a
message names, and refuses what is no message."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch, RingmillError
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import attempt_folder
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.task_messages import Said
from ringmill.cluster.mapreduce.messages.worker_messages import (
    AttemptReport,
    ReduceAssignment,
    encode_assignments,
    encode_reports,
)
from ringmill.cluster.ports import Priority
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.worker import Worker
from ringmill.node.jobs.reported import event_of
from ringmill.node.node_options import WorkerOptions
from ringmill.node.services.server import NodeServer, Services
from tests.log_records import own_records
from tests.node.compute.trials import FORGED, nested
from tests.node.compute.worker_bench import Bench
from tests.node.held_keyspaces import HeldKeyspaces
from tests.ports import free_port

CODE = build_bundle("trials", {"trials.py": Path(__file__).with_name("trials.py").read_bytes()}.get)
N1, N2 = NodeId("n1"), NodeId("n2")


def spec_of(output: Path, job: str = "j-1") -> JobSpec:
    return JobSpec(
        job=job, module="trials", name="counting", bundle_sha256=CODE.sha256, inputs=("/in",),
        output=str(output), input_format="lines", output_format="tsv", reducers=2,
    )  # fmt: skip


def the_order(output: Path, attempt: AttemptId) -> bytes:
    return encode_assignments([ReduceAssignment("j-1", attempt, 1, N2, spec_of(output).encode(), 1, ())])


class Victim:
    """A worker behind a real port, and a stranger who says that he is n2."""

    def __init__(self, folder: Path, worker: Worker, stranger: FrameTransport) -> None:
        self.folder = folder
        self.worker = worker
        self.stranger = stranger
        self.reports: asyncio.Queue[AttemptReport] = asyncio.Queue()
        self.foreign = folder / "foreign"
        self.foreign.mkdir(mode=0o700)
        (self.foreign / "thesis").write_text("ten years")

    async def send(self, method: str, body: bytes) -> bytes:
        return await self.stranger.call(N1, method, body, timeout_s=5, priority=Priority.CONTROL)

    async def hear(self, reports: Sequence[AttemptReport]) -> None:
        for report in reports:
            self.reports.put_nowait(report)

    async def failure(self) -> TaskFailed:
        """How the attempt ended that the worker took on."""
        async with asyncio.timeout(30):
            while (report := await self.reports.get()).kind == "progress":
                pass
        return TaskFailed.from_wire(report.failure)


@pytest.fixture
async def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    clock, files, processes = SystemClock(), OsFileSystem(), TaskProcesses()

    def transport(node: NodeId) -> FrameTransport:
        return FrameTransport(
            node, GrpcCarrier(LINK, clock=clock), clock=clock, entropy=OsEntropy(), cluster=ClusterId("c1")
        )

    async def code() -> AsyncIterator[bytes]:
        yield CODE.data

    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(transport(N1))
        stranger = await stack.enter_async_context(transport(N2))
        bundles = BundleStore(str(tmp_path / "bundles"), files=files, transport=mine, clock=SystemClock())
        await bundles.put(CODE.sha256, code())
        worker = Worker(
            N1, start="1", folder=str(tmp_path / "scratch"), slots=1, bundles=bundles, clock=clock,
            files=files, spawner=processes, transport=mine, options=WorkerOptions(),
            keyspaces=HeldKeyspaces(),
        )  # fmt: skip
        await stack.enter_async_context(worker)
        for method, handler in {**worker.handlers(), **bundles.handlers()}.items():
            mine.serve(method, handler)
        server = NodeServer(f"127.0.0.1:{free_port()}", Services(GrpcAcceptor(mine)))
        await stack.enter_async_context(server)
        stranger.set_peers({N1: server.address})
        made = Victim(tmp_path, worker, stranger)
        monkeypatch.setattr(worker, "_send", made.hear)
        yield made
    await processes.close()
    files.close()


ORDERS: list[tuple[str, Any]] = [
    ("the staging folder named in the message, as version 1 had it", lambda v, spec: [
        1, "j-1", ["reduce", 0, 1], "n2", spec, 1, [], str(v.foreign)]),
    ("the same in version 2", lambda v, spec: [
        2, "j-1", ["reduce", 0, 1], "n2", spec, 1, [], str(v.foreign)]),
    ("an attempt whose name climbs", lambda v, spec: [
        5, "j-1", 1, "n2", spec, [[[f"../../../{v.foreign}/x", 0, 1], 1, []]]]),
    ("a task that is text", lambda v, spec: [
        5, "j-1", 1, "n2", spec, [[["reduce", "/../../foreign", 1], 1, []]]]),
    ("a job whose name climbs", lambda v, spec: [
        5, "../foreign", 1, "n2", spec, [[["reduce", 0, 1], 1, []]]]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "order"), ORDERS, ids=[case[0] for case in ORDERS])
async def test_an_order_for_a_foreign_folder_is_refused_and_the_folder_stays(
    victim: Victim, what: str, order: Any
) -> None:
    body = msgpack.packb(order(victim, spec_of(victim.folder / "out").encode()))
    with pytest.raises(RingmillError):
        await victim.send("task.start", body)
    assert (victim.foreign / "thesis").read_text() == "ten years"
    assert sorted(path.name for path in victim.folder.iterdir()) == ["bundles", "foreign", "scratch"]


async def test_a_folder_that_was_there_before_an_attempt_is_neither_used_nor_deleted(victim: Victim) -> None:
    output, attempt = victim.folder / "out", AttemptId("reduce", 0, 1)
    there = Path(attempt_folder(str(output), "j-1", attempt))
    there.parent.mkdir()
    victim.foreign.rename(there)
    await victim.send("task.start", the_order(output, attempt))
    assert "was there before the attempt" in (await victim.failure()).message
    assert (there / "thesis").read_text() == "ten years"


async def test_a_link_at_the_place_of_an_attempts_folder_is_not_followed(victim: Victim) -> None:
    output, attempt = victim.folder / "out", AttemptId("reduce", 0, 1)
    there = Path(attempt_folder(str(output), "j-1", attempt))
    there.parent.mkdir()
    os.symlink(victim.foreign, there)
    await victim.send("task.start", the_order(output, attempt))
    assert "was there before the attempt" in (await victim.failure()).message
    assert (victim.foreign / "thesis").read_text() == "ten years"
    assert os.readlink(there) == str(victim.foreign)


async def test_no_folder_is_made_for_a_job_that_nobody_has_planned(victim: Victim) -> None:
    output, attempt = victim.folder / "new" / "out", AttemptId("reduce", 0, 1)
    await victim.send("task.start", the_order(output, attempt))
    assert (await victim.failure()).frames == ()
    assert not (victim.folder / "new").exists()


def test_an_output_whose_hidden_folder_would_lie_elsewhere_is_no_output(tmp_path: Path) -> None:
    for output in ("/", "//", f"{tmp_path}/..", f"{tmp_path}/./x", f"{tmp_path}/a/../b"):
        with pytest.raises(InvalidArgument, match="must name a folder"):
            replace(spec_of(tmp_path / "out"), output=output)


HASHES = ["../../../etc/passwd", "/etc/passwd", "0" * 63 + "/", "0" * 63, "", 7, None, ["0"] * 64]


@pytest.mark.parametrize("sha256", HASHES, ids=map(repr, HASHES))
async def test_a_bundle_is_asked_for_by_its_hash_alone(victim: Victim, sha256: object) -> None:
    with pytest.raises(InvalidArgument, match="64 hexadecimal digits"):
        await victim.send("bundle.fetch", msgpack.packb([sha256, 0, False]))


JUNK = [b"", b"\x00", b"\xff" * 9, *map(msgpack.packb, (
    [], [2], [2, "j-1", None, 7, 7], {"a": 1}, [2, 7], [2, "j", ["map", -1, 1]],
))]  # fmt: skip


@pytest.mark.parametrize(
    "method", ["task.start", "task.poll", "task.cancel", "shuffle.fetch", "bundle.fetch"]
)
async def test_what_is_no_message_is_refused_in_one_line_and_leaves_no_trace_in_the_log(
    victim: Victim, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    for body in JUNK:
        with pytest.raises((ProtocolMismatch, InvalidArgument)) as refused:
            await victim.send(method, body)
        assert "\n" not in str(refused.value)
    assert own_records(caplog) == []


async def test_a_link_where_an_attempt_is_to_work_is_not_followed(victim: Victim, tmp_path: Path) -> None:
    (tmp_path / "scratch" / "j-1").mkdir()
    (tmp_path / "scratch" / "j-1" / "reduce-0.2").symlink_to(victim.foreign)
    await victim.send("task.start", the_order(tmp_path / "out", AttemptId("reduce", 0, 2)))
    assert "has put a link at" in (await victim.failure()).message
    assert os.listdir(victim.foreign) == ["thesis"]


@pytest.mark.parametrize("mode", FORGED)
async def test_one_forged_message_of_a_task_fails_its_attempt_and_no_more(bench: Bench, mode: str) -> None:
    bench.worker._options = replace(bench.worker._options, progress_every_s=0.05)
    failure = await bench.fails(bench.map_assignment("poison\n", mode))
    assert failure.cause is Cause.USER_ERROR and "wrote into the task's own pipe" in failure.message
    assert (await bench.run(bench.map_assignment("all well\n", number=2))).kind == "done"


async def test_a_report_that_no_message_can_carry_is_told_as_a_failure(bench: Bench) -> None:
    made = bench.worker._report(bench.map_assignment("x\n"), "done", body=[1 << 64])
    for unfit in (made, replace(made, body=[nested(1100)]), replace(made, body=[object()])):
        with pytest.raises(InvalidArgument, match="a report that cannot be sent"):
            encode_reports([unfit])


def test_counts_that_no_attempt_can_have_are_refused_by_the_coordinator_too(tmp_path: Path) -> None:
    for what, most in (("map", (1 << 46) + 1), ("map", (1 << 63) - 1), ("reduce", -1), ("reduce", 1 << 47)):
        attempt = AttemptId("map" if what == "map" else "reduce", 0, 1)
        body = ["/run", [[0] * 5] * 2, {}, 0, most, 0, 0, []]
        if what == "reduce":
            part = f"{attempt_folder(str(tmp_path / 'out'), 'j-1', attempt)}/part-00000"
            body = [0, part, 0, 0, {}, 0, 0, most, []]
        report = AttemptReport("j-1", attempt, N1, "1", "done", body)
        with pytest.raises(ProtocolMismatch, match="is no number from 0 to"):
            event_of(report, spec_of(tmp_path / "out"), 1)


async def test_progress_without_end_ends_its_attempt(bench: Bench) -> None:
    failure = await bench.fails(bench.map_assignment("poison\n", "flood"))
    assert failure.cause is Cause.USER_ERROR
    assert "told of its progress more than 100 times a second" in failure.message


LARGE: list[tuple[str, bytes]] = [
    ("progress", msgpack.packb(["progress", [1, 1, "", "x" * (1 << 20)]])),
    ("failed", msgpack.packb(["failed", ["UserError", "x" * (1 << 20), [], "", ""]])),
    ("kind", b"\xdc\x00\x02\xa8progress" + msgpack.packb([1, 1, "", "x" * (1 << 20)])),
    ("maps", b"\x92\xa4done\xdd\x00\x10\x00\x00" + b"\x80" * (1 << 20)),
    ("lists", b"\x92\xa4done\xdd\x00\x10\x00\x00" + b"\x90" * (1 << 20)),
]


@pytest.mark.parametrize(("what", "message"), LARGE, ids=[each[0] for each in LARGE])
def test_what_a_task_says_takes_little_memory(what: str, message: bytes) -> None:
    tracemalloc.start()
    try:
        if what == "lists":
            Said.decode(message)
        else:
            with pytest.raises(ValueError, match=r"of at most|more than 16 maps"):
                Said.decode(message)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
