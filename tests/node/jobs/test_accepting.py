"""What a node does before it says that it has a job: plan it, and see that it outlives the node."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from ringmill.client.cli.console.settings import DEFAULT_TIMEOUT_S
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DiskFull, NotFound, Overloaded, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.cluster.mapreduce.outputs import staging_folder
from ringmill.cluster.ports import Priority
from ringmill.node.jobs import tenure
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.journal.cells import INDEX, Cells, Fenced
from ringmill.node.jobs.journal.job_index import IndexRow
from ringmill.node.jobs.slots import Slots
from ringmill.node.jobs.stages import planning_turns
from ringmill.node.jobs.stages.planning_turns import PlanningTurns
from ringmill.node.jobs.surroundings import Surroundings
from ringmill.node.jobs.tenure import Tenure
from ringmill.node.node_options import CoordinatorOptions
from tests.node.jobs.registers import Registers

N1, N2, N3, N4 = map(NodeId, ("n1", "n2", "n3", "n4"))
SPEC = JobSpec(
    job="a", module="m", name="n", bundle_sha256="ab" * 32, inputs=("/in",), output="/out",
    input_format="lines", output_format="tsv", reducers=1, overwrite=False, params={},
)  # fmt: skip


class Shelf:
    """Bundles that some members have; `asked` are those that were asked for one."""

    def __init__(self, **failing: RingmillError) -> None:
        self.failing = failing
        self.asked: list[NodeId] = []

    async def ensure(self, sha256: str, source: NodeId) -> str:
        self.asked.append(source)
        if (error := self.failing.get(source)) is not None:
            raise error
        return f"/kept/{sha256}.zip"


async def code_of(shelf: Shelf, *up: NodeId) -> str:
    world: Any = SimpleNamespace(node=N1, members_up=lambda: list(up), bundles=shelf)
    spec: Any = SimpleNamespace(bundle_sha256="abc")
    return await Surroundings.code_of(world, spec)


async def test_the_code_of_a_job_is_asked_for_at_the_others() -> None:
    shelf = Shelf(n2=NotFound("no bundle"))
    assert await code_of(shelf, N1, N2, N3) == "/kept/abc.zip"
    assert shelf.asked == [N2, N3]
    shelf = Shelf()
    assert await code_of(shelf, N1) == "/kept/abc.zip", "it may be here"
    shelf = Shelf(n2=NotFound("none"), n3=Unavailable("away"))
    with pytest.raises(Unavailable, match="away"):
        await code_of(shelf, N1, N2, N3)


async def test_code_that_there_is_no_room_for_is_asked_for_once() -> None:
    shelf = Shelf(n2=DiskFull("no room"))
    with pytest.raises(DiskFull):
        await code_of(shelf, N1, N2, N3)
    assert shelf.asked == [N2]


class World:
    """A coordinator whose plans and peers are functions; `kept` are those that have the code."""

    def __init__(self, *others: NodeId) -> None:
        self.up = [N1, *others]
        self.kept: list[NodeId] = []
        self.registers = Registers()
        self.before_plan: Callable[[JobSpec], Any] = lambda spec: asyncio.sleep(0)
        self.refuse: Callable[[NodeId], str] = lambda node: ""
        self.hanging: set[NodeId] = set()  # they hear of no job until `go_on`
        self.go_on = asyncio.Event()
        self.told: list[NodeId] = []

    async def plan(self, spec: JobSpec) -> InputPlan:
        await self.before_plan(spec)
        return InputPlan(())

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        if why := self.refuse(to) if method == "job.open" else "it has no worker":
            raise Unavailable(why)
        if to in self.hanging:
            await self.go_on.wait()
        self.told.append(to)
        if body:
            self.kept.append(to)
        return b""

    async def tenure(self, jobs: dict[str, JobDriver] | None = None) -> Tenure:
        world = self.surroundings()
        lease: Any = SimpleNamespace(term=1, check=lambda: None)
        made = Tenure(world, lease, world.bundles, {} if jobs is None else jobs)
        await made.open(is_wanted=True)
        return made

    def surroundings(self) -> Surroundings:
        topology: Any = SimpleNamespace(
            current=SimpleNamespace(members=[SimpleNamespace(id=node) for node in self.up])
        )
        doors: Any = self
        liveness: Any = SimpleNamespace(is_up=lambda node: node in self.up)
        return Surroundings(
            node=N1, topology=topology, liveness=liveness, clock=SystemClock(), wall=time.time,
            files=OsFileSystem(), job_steps=doors, bundles=Shelf(), cells=Cells(self.registers),
            keyspaces=doors, transport=doors, slots=Slots(time.monotonic), slot_freed=lambda: None,
            rest=lambda: asyncio.sleep(0), options=CoordinatorOptions(),
        )  # fmt: skip


async def test_a_plan_that_hangs_keeps_no_other_job_from_being_accepted() -> None:
    world, planned = World(), []

    async def hang(spec: JobSpec) -> None:
        planned.append(spec.job)
        if spec.job == "a":
            await asyncio.Event().wait()

    world.before_plan = hang
    async with await world.tenure() as holding, asyncio.timeout(5), asyncio.TaskGroup() as group:
        hanging = [group.create_task(holding.accept(SPEC, N1)) for _ in range(2)]
        await asyncio.sleep(0)
        await holding.accept(replace(SPEC, job="b", output="/out-b"), N1)
        assert planned == ["a", "b"], "one job is planned once"
        for each in hanging:
            each.cancel()


async def test_few_jobs_are_planned_at_once_and_who_waits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_turns, "_AT_ONCE", 1)
    monkeypatch.setattr(planning_turns, "_MOST_WAITING", 1)
    monkeypatch.setattr(planning_turns, "_LONGEST_WAIT_S", 0.01)
    turns = PlanningTurns()
    second = replace(SPEC, job="b")
    async with turns.of("a"), turns.place(SPEC):
        waiting = asyncio.create_task(turns.place(second).__aenter__())
        await asyncio.sleep(0)
        assert turns.planned == [SPEC, second], "there is room for it in the list"
        with pytest.raises(Overloaded, match="1 jobs are being planned"):
            await turns.place(replace(SPEC, job="c")).__aenter__()
        with pytest.raises(Overloaded) as told:
            await waiting
        assert (told.value.outcome, turns.planned) == ("failed", [SPEC])
    async with turns.place(second):
        assert turns.planned == [second]
    assert (turns.planned, turns._turns) == ([], {})


async def test_a_job_is_accepted_when_another_member_has_its_code() -> None:
    world = World(N2, N3, N4)
    world.refuse = lambda node: "" if node == N4 else f"{node} has a full disk"
    async with await world.tenure() as holding:
        await holding.accept(SPEC, N1)
        assert world.kept == [N4]


@pytest.mark.parametrize("hanging", [{N2}, {N3}, {N2, N4}, {N4}])
async def test_a_member_that_hangs_delays_no_job_and_hears_of_it_all_the_same(
    hanging: set[NodeId], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenure, "_SPREAD_TIMEOUT_S", 60.0)
    world = World(N2, N3, N4)
    world.hanging = hanging
    async with await world.tenure() as holding, asyncio.timeout(10):
        await holding.accept(SPEC, N1)
        assert {*world.kept} in ({N2}, {N3}, {N2, N3}), "one of them has its code"
        world.go_on.set()
        while len(world.told) < 3:  # noqa: ASYNC110 - a turn of the loop each
            await asyncio.sleep(0)
        assert {*world.kept} == {N2, N3}


async def test_a_job_waits_for_a_slow_copy_of_its_code_where_there_is_no_other_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tenure, "_CODE_PAUSE_S", 60.0)  # before who has refused it is asked once more
    world = World(N2, N3)
    world.hanging = {N3}
    world.refuse = lambda node: "its disk is full" if node == N2 else ""
    async with await world.tenure() as holding, asyncio.timeout(10):
        accepting = asyncio.create_task(holding.accept(SPEC, N1))
        await asyncio.sleep(0.1)
        assert not accepting.done(), "its code is nowhere else"
        world.go_on.set()
        await accepting
        assert {*world.kept} == {N3}


def test_what_keeps_a_job_from_being_accepted_is_told_while_its_client_waits() -> None:
    longest_s = planning_turns._LONGEST_WAIT_S + tenure._KEPT_WITHIN_S
    assert longest_s <= DEFAULT_TIMEOUT_S - 1, "it is planned in between"


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "_CODE_PAUSE_S", 0.01)


@pytest.mark.usefixtures("restless")
async def test_a_job_whose_code_no_other_member_takes_is_not_accepted_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, is_full = World(N2), [True]
    world.refuse = lambda node: "its disk is full" if is_full[0] else ""
    async with await world.tenure() as holding:
        with (
            monkeypatch.context() as impatient,
            pytest.raises(Unavailable, match="no other member keeps its code: n2: its disk is full") as told,
        ):
            impatient.setattr(tenure, "_KEPT_WITHIN_S", 0.05)
            await holding.accept(SPEC, N1)
        assert told.value.outcome == "unknown"
        is_full[0] = False
        await holding.accept(SPEC, N1)
        assert world.kept == [N2]
        assert holding.open_jobs == 1, "it is the same job"


@pytest.mark.usefixtures("restless")
async def test_a_job_is_accepted_when_no_other_member_is_up_any_more() -> None:
    world = World(N2)

    def die(node: NodeId) -> str:
        world.up.remove(node)
        return "it does not answer"

    world.refuse = die
    async with await world.tenure() as holding:
        await holding.accept(SPEC, N1)
    assert world.kept == []


@pytest.mark.usefixtures("restless")
async def test_who_is_fenced_out_of_the_list_of_jobs_waits_for_no_member_that_keeps_the_code() -> None:
    world = World(N2)
    world.refuse = lambda node: "its disk is full"

    def overtake(key: bytes) -> None:
        if key == INDEX:
            version, _ = world.registers.held[INDEX]
            world.registers.held[INDEX] = version + 1, b"of another one"

    async with await world.tenure() as holding:
        world.registers.before_write = overtake
        with pytest.raises(Fenced) as told:
            await holding.accept(SPEC, N1)
        assert (told.value.outcome, holding.ended.is_set()) == ("unknown", True)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def begun(driver: JobDriver) -> None:
    writing = asyncio.create_task(driver.journal.write())
    await driver.journal.flush()
    await driver.listed.wait()
    writing.cancel()


async def test_a_job_that_its_coordinator_crashes_is_told_as_failed_when_the_list_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, seen = World(N2), []
    spec = replace(SPEC, output=f"{tmp_path}/out")
    OsFileSystem().mkdir(staging_folder(spec.output, f"{spec.job}.1.1"))

    async def crash(driver: JobDriver) -> None:
        await begun(driver)
        raise RuntimeError("a bug")

    monkeypatch.setattr(JobDriver, "run", crash)
    async with await world.tenure() as holding:

        def look(key: bytes) -> None:
            if (driver := holding._jobs.get("a")) is not None and key == INDEX:
                seen.append(driver.view().state)

        world.registers.before_write = look
        await holding.accept(spec, N1)
        driver = holding._jobs["a"]
        async with asyncio.timeout(5):
            await driver.over.wait()
        assert driver.view().state == "FAILED"
        assert set(seen) == {"PENDING", "RUNNING"}
        while holding.open_jobs:  # noqa: ASYNC110 - a turn of the loop each
            await asyncio.sleep(0)
    assert leftovers(tmp_path) == []


async def test_a_fault_of_cleaning_up_behind_a_crash_ends_no_tenure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()

    async def crash(driver: JobDriver) -> None:
        await begun(driver)
        raise RuntimeError("a bug")

    async def crash_again(driver: JobDriver) -> None:
        raise RuntimeError("the same bug")

    monkeypatch.setattr(JobDriver, "run", crash)
    monkeypatch.setattr(JobDriver, "clean_up", crash_again)
    async with await world.tenure() as holding:
        await holding.accept(SPEC, N1)
        driver = holding._jobs["a"]
        while holding.open_jobs:  # noqa: ASYNC110 - a turn of the loop each
            await asyncio.sleep(0)
        assert (driver.view().state, "a bug" in str(driver.view().error)) == ("FAILED", True)
        assert "what job a has left is not removed, by a fault" in caplog.text
        await holding.accept(replace(SPEC, job="b", output="/out-b"), N1)


async def test_a_job_that_its_former_coordinator_crashes_is_not_told_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    spec = replace(SPEC, output=f"{tmp_path}/out")

    async def crash(driver: JobDriver) -> None:
        await begun(driver)
        version, _ = world.registers.held[INDEX]
        world.registers.held[INDEX] = version + 1, b"of another one"
        raise RuntimeError("a bug")

    monkeypatch.setattr(JobDriver, "run", crash)
    async with await world.tenure() as holding:
        await holding.accept(spec, N1)
        driver = holding._jobs["a"]
        async with asyncio.timeout(5):
            await holding.ended.wait()
        while holding.open_jobs:  # noqa: ASYNC110 - a turn of the loop each
            await asyncio.sleep(0)
        assert (driver.is_given_up, driver.over.is_set(), holding._jobs) == (True, False, {})


async def test_what_another_coordinator_has_forgotten_is_dropped() -> None:
    world, ended = World(), {}
    listed = IndexRow("kept", "kept.1.1", "m:n", "/out", 1.0, is_over=True)
    remade = IndexRow("remade", "remade.2.1", "m:n", "/out", 1.0, is_over=True)
    world.registers.held[INDEX] = 1, msgpack.packb([2, 1, [astuple(listed), astuple(remade)]])
    for name in ("kept", "remade", "forgotten"):
        driver: Any = SimpleNamespace(is_over=True, journal=SimpleNamespace(name=f"{name}.1.1"))
        ended[name] = driver
    await world.tenure(ended)
    assert list(ended) == ["kept"]


async def test_a_failed_writer_that_reports_again_is_looked_into_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, looks = World(), []

    async def hang(*_: Any, **__: Any) -> None:
        looks.append(1)
        await asyncio.Event().wait()

    files: Any = SimpleNamespace(off_loop=hang)
    machine = JobMachine(JobPlan("a", (), 1))
    driver = JobDriver(
        StoredJob(SPEC, 0.0, 0.0, machine), replace(world.surroundings(), files=files),
        journal="a.1.1", term=1,
    )  # fmt: skip
    attempt = SimpleNamespace(node=N1, start="1", is_open=True)
    monkeypatch.setattr(driver, "attempt", lambda _: attempt)
    failure = TaskFailed(Cause.DISK_FULL, "no space left").to_wire()
    report = AttemptReport("a", AttemptId("reduce", 0, 1), N1, "1", "failed", failure=failure)
    async with driver._group:
        assert [driver.hear(report) for _ in range(3)] == [True, False, False]
        await asyncio.sleep(0)
        assert (len(looks), len(driver.logs(""))) == (1, 1)
        for looking in driver._looked_into.values():
            looking.cancel()
    assert driver._looked_into == {}
