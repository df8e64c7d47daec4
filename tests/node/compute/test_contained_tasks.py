"""What a task may not do when it is contained, what it may, and how it is told; in real task processes.

Whatever is refused succeeds in the same process when it is not contained.
"""

import ctypes
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ringmill.cluster.adapters.containment.level import level_of_kernel
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.inputs import SourcePaths
from ringmill.cluster.mapreduce.files.splits import InputFile
from ringmill.cluster.mapreduce.messages.reach import Reach, TaskContainment
from ringmill.cluster.mapreduce.messages.task_messages import RunAttempt, Said
from ringmill.cluster.mapreduce.outputs import MapOutput, staging_folder
from ringmill.cluster.ports import TaskProcess

pytestmark = pytest.mark.skipif(level_of_kernel().lack != "", reason="this kernel cannot contain all of it")

SOURCE = Path(__file__).with_name("escapes.py").read_bytes()
LIMITS = {"open_files": 256}


@dataclass
class Premises:
    """The folders of a node with a token beside, a home, and tasks that run here."""

    root: Path
    processes: TaskProcesses
    bundle: str
    containment: TaskContainment
    begun: int = 0

    def spec(self, *inputs: str, **fields: Any) -> JobSpec:
        return JobSpec(
            job="j-1", module="escapes", name="trying", bundle_sha256="", inputs=inputs,
            output=str(self.root / "out"), input_format="lines", output_format="tsv", reducers=1, **fields,
        )  # fmt: skip

    def lines(self, name: str, *lines: str) -> str:
        path = self.root / "inputs" / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    async def process(self) -> TaskProcess:
        return await self.processes.start_task(
            workdir=str(self.root), environment={"PATH": os.environ["PATH"]}, limits=LIMITS
        )

    async def attempt(self, process: TaskProcess, spec: JobSpec, path: str = "") -> Said:
        """Run a map of a file, the first input unless another is given, in a folder of its own."""
        self.begun += 1
        folder = self.root / "node" / "scratch" / spec.job / f"map-0.{self.begun}"
        folder.mkdir(parents=True)
        (split,) = plan_input([SourcePaths("", "lines", (path or spec.inputs[0],))], OsFileSystem()).splits
        reach = self.containment.reach_of(spec, self.bundle, str(folder.parent))
        run = RunAttempt(
            "map", 0, self.begun, spec.encode(), self.bundle, str(folder), str(folder), 1, split.to_wire(),
            reach.writing(str(folder.parent)).to_wire() if reach else (),
        )  # fmt: skip
        await process.send(run.encode())
        while (said := Said.decode(await process.receive())).kind == "progress":
            pass
        return said

    async def found(self, *lines: str, **fields: Any) -> dict[str, str]:
        """What a task says of each line."""
        process = await self.process()
        said = await self.attempt(process, self.spec(self.lines("lines", *lines), **fields))
        assert said.kind == "done", said.body
        where = self.root / "node" / "scratch" / "j-1" / f"map-0.{self.begun}" / "found.json"
        process.kill()
        found: dict[str, str] = json.loads(where.read_text())
        return found

    async def fails(self, line: str, **fields: Any) -> TaskFailed:
        process = await self.process()
        said = await self.attempt(process, self.spec(self.lines("line", f"raise {line}"), **fields))
        assert said.kind == "failed", said
        return TaskFailed.from_wire(said.body)


@pytest.fixture
async def premises(tmp_path: Path) -> AsyncIterator[Premises]:
    for name in ("node/store", "node/bundles", "inputs", "of_user", staging_folder("out", "j-1")):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "of_user" / "diary").write_text("dear")
    (tmp_path / "other").write_text("of others")
    bundle = tmp_path / "node" / "bundles" / "code.zip"
    bundle.write_bytes(build_bundle("escapes", {"escapes.py": SOURCE}.get).data)
    containment = TaskContainment(
        level="all", is_on=True, secrets=(str(tmp_path / "node"), str(tmp_path / "token")),
        home=str(tmp_path / "of_user"),
    )  # fmt: skip
    processes = TaskProcesses()
    yield Premises(tmp_path, processes, str(bundle), containment)
    await processes.close()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where somebody listens: ports of TCP and UDP, a path, and an abstract name."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp, unix, abstract, datagram = (
        socket.socket(family, kind)
        for family, kind in (
            (socket.AF_INET, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_UNIX, socket.SOCK_DGRAM),
        )
    )
    with closing(tcp), closing(udp), closing(unix), closing(abstract), closing(datagram):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "s"))
        abstract.bind(f"\0ringmill-{os.getpid()}")
        datagram.bind(str(tmp_path / "d"))
        unix.listen()
        abstract.listen()
        yield {
            "tcp": str(tcp.getsockname()[1]),
            "udp": str(udp.getsockname()[1]),
            "unix": str(tmp_path / "s"),
            "abstract": f"ringmill-{os.getpid()}",
            "datagram": str(tmp_path / "d"),
            "raw": str(tmp_path / "d"),
        }


def tries_to_escape(premises: Premises, listening: dict[str, str]) -> list[str]:
    root = premises.root
    return [
        f"read {root}/token", f"read_by_link {root}/token", f"link {root}/token", f"chmod {root}/token",
        f"read_in_a_child {root}/of_user/diary", f"list {root}/node/store", f"write {root}/node/store/x",
        f"append {root}/other", f"shorten {root}/inputs/lines", f"rename {root}/other",
        f"mkdir {root}/made", f"signal {os.getpid()}", "signal_parent", "environment", "memory", "limits",
        "priority", "schedule", f"processors {os.getpid()}", f"reading {os.getpid()}",
        "lease", "ptrace", "unshare", "shmget", "keyctl", "listen",
        "memfd",
        *(f"{name} {where}" for name, where in listening.items()),
    ]  # fmt: skip


@pytest.fixture
def segment() -> Iterator[int]:
    """Shared memory of System V that another program has."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.shmget(0, 4096, 0o1600)
    yield number
    libc.shmctl(number, 0, None)


async def test_what_reaches_out_of_a_task_is_refused(
    premises: Premises, listening: dict[str, str], segment: int
) -> None:
    lines = [*tries_to_escape(premises, listening), f"shmctl {segment}"]
    held = await premises.found(*lines)
    assert len(held) == len(lines)
    other_ends = {"link": "OSError: [Errno 18]", "read_in_a_child": "CalledProcessError",
                  "memfd": "OSError: [Errno 38]"}  # fmt: skip
    for name, said in held.items():
        assert said.startswith(other_ends.get(name, "PermissionError")), name
    premises.containment = replace(premises.containment, is_on=False)
    free = await premises.found(*(line for line in lines if not line.startswith("shorten ")))
    refused = {name: said for name, said in free.items() if "Error" in said}
    assert refused.keys() <= ({"unshare"} if os.geteuid() else set()), "it would prove nothing otherwise"
    spec = premises.spec(premises.lines("lines", f"shorten {premises.root}/inputs/lines"))
    shortened = await premises.attempt(await premises.process(), spec)
    assert TaskFailed.from_wire(shortened.body).cause is Cause.INPUT_CHANGED


async def test_what_tasks_need_still_works(premises: Premises) -> None:
    names = (
        "tempfile", "multiprocessing", "asyncio", "sort", "thread", "signal_child", "sqlite", "print", "null",
        "python", "processors_told", "users", "own", "own_processors",
    )  # fmt: skip
    found = await premises.found(*names)
    assert found == {
        "tempfile": "True", "multiprocessing": "[3, 1, 2]", "asyncio": "b'paired'", "sort": "a\nb\n",
        "thread": "[1]", "signal_child": "-15", "sqlite": "[(1,)]", "print": "8", "null": "1",
        "python": "0", "processors_told": "True", "users": "True", "own": "True", "own_processors": "True",
    }  # fmt: skip


async def test_a_job_that_asks_for_the_network_gets_the_internet_and_nothing_else(
    premises: Premises, listening: dict[str, str]
) -> None:
    lines = [*(f"{name} {where}" for name, where in listening.items()), f"read {premises.root}/token"]
    found = await premises.found(*lines, network=True)
    assert {name for name, said in found.items() if said == "sent"} == {"tcp", "udp"}
    assert all(said.startswith("Permission") for name, said in found.items() if name not in ("tcp", "udp"))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("tcp 9", "ask for connections by job(network=True) or --network"),
        ("read {root}/of_user/diary", "name it as side data"),
        ("read {root}/token", "this is of the cluster itself"),
        ("write {root}/made", "they write in their own folder, the current one"),
        ("signal_parent", "no other processes"),
    ],
)
async def test_a_refusal_is_an_error_of_the_job_that_says_what_to_ask_for(
    premises: Premises, line: str, advice: str
) -> None:
    failure = await premises.fails(line.format(root=premises.root))
    assert (failure.cause, failure.frames != ()) == (Cause.USER_ERROR, True)
    assert "tasks are contained" in failure.message and advice in failure.message


async def test_other_errors_get_no_such_advice(premises: Premises) -> None:
    failure = await premises.fails(f"read {premises.root}/inputs/absent")
    assert "contained" not in failure.message
    premises.containment = replace(premises.containment, is_on=False)
    assert "contained" not in (await premises.fails("tcp 1")).message


async def test_side_data_is_read_and_a_home_that_is_the_input_is_but_for_secrets(premises: Premises) -> None:
    root, diary = premises.root, premises.root / "of_user" / "diary"
    noted = {"diary": (InputFile(str(diary), 4, diary.stat().st_mtime_ns),)}
    found = await premises.found(f"read {diary}", side={"diary": str(diary)}, noted=noted)
    assert found["read"] == "dear"
    spec = premises.spec(premises.lines("all", f"read {root}/other", f"list {root}/node"))
    process = await premises.process()
    await premises.attempt(process, replace(spec, inputs=(str(root),)), spec.inputs[0])
    process.kill()
    found = json.loads((root / "node/scratch/j-1" / f"map-0.{premises.begun}" / "found.json").read_text())
    assert found["read"] == "of others" and found["list"].startswith("PermissionError")


async def test_a_hard_link_to_the_token_gives_nothing_to_who_may_read_the_folder_it_is_in(
    premises: Premises,
) -> None:
    linked = premises.root / "inputs" / "linked"
    os.link(premises.root / "token", linked)
    spec = premises.spec(premises.lines("lines", f"read {linked}", f"read_in_a_child {linked}"))
    for inputs in ((f"{premises.root}/inputs/*",), (str(linked), *spec.inputs)):
        process = await premises.process()
        said = await premises.attempt(process, replace(spec, inputs=inputs), spec.inputs[0])
        process.kill()
        assert said.kind == "done", said.body
        folder = premises.root / "node" / "scratch" / "j-1" / f"map-0.{premises.begun}"
        found = json.loads((folder / "found.json").read_text())
        assert found["read"].startswith("PermissionError")
        assert found["read_in_a_child"].startswith("CalledProcessError")


async def test_one_process_serves_attempts_of_one_reach_and_says_when_it_cannot(premises: Premises) -> None:
    here, there = premises.lines("here", "print"), premises.root / "of_user" / "there"
    (premises.root / "inputs" / "linked").symlink_to(there)
    there.write_text("print\n")
    pattern = premises.spec(f"{premises.root}/inputs/*")
    process = await premises.process()
    assert (await premises.attempt(process, pattern, here)).kind == "done"
    assert (await premises.attempt(process, pattern, here)).kind == "done"
    assert (await premises.attempt(process, pattern, f"{premises.root}/inputs/linked")).kind == "other"
    fresh = await premises.process()
    said = await premises.attempt(fresh, pattern, f"{premises.root}/inputs/linked")
    assert said.kind == "done" and MapOutput.from_wire(said.body[0]).records_in == 1


def test_a_pattern_permits_its_folder_unless_that_holds_everything() -> None:
    containment = TaskContainment(is_on=True, secrets=("/srv/node",), home="/u")
    spec = JobSpec(
        job="j", module="m", name="n", bundle_sha256="", inputs=("/data/*.gz", "/u/*.txt", "/a/b"),
        output="/data/out", input_format="lines", output_format="tsv", reducers=1,
    )  # fmt: skip
    reach = containment.reach_of(spec, "/code.zip", "/srv/node/scratch/j")
    assert reach == Reach(
        ("/code.zip", "/srv/node/scratch/j", "/data/.out.ringmill-j"),
        ("/data/*.gz", "/data", "/u/*.txt", "/a/b"), (), ("/srv/node",), network=False,
    )  # fmt: skip
    assert Reach.from_wire(reach.to_wire()) == reach
    assert TaskContainment().reach_of(spec, "/code.zip") is None
    store = containment.reach_of(replace(spec, inputs=("s3://bucket/logs",)), "/code.zip")
    assert store is not None and store.network and store.reads == ()


@pytest.mark.parametrize("field", ["inputs", "output", "output_url", "side"])
def test_a_job_that_names_what_is_of_the_cluster_is_refused(field: str) -> None:
    containment = TaskContainment(is_on=True, secrets=("/srv/node",))
    named: Any = {
        "inputs": ("/srv/node/log",), "output": "/srv/node/out", "output_url": "local:///srv/node/out",
        "side": {"x": "/srv/node/token"},
    }  # fmt: skip
    spec = JobSpec(
        job="j", module="m", name="n", bundle_sha256="", output_format="tsv", input_format="lines",
        reducers=1, **({"inputs": ("/a",), "output": "/out"} | {field: named[field]}),
    )  # fmt: skip
    with pytest.raises(InvalidArgument, match="lies in a folder of the cluster itself"):
        containment.refuse_secrets(spec)
