"""A module as it is imported: in a real process, contained."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ringmill.client.gateway.jobs.gateway_jobs import GatewayJobs
from ringmill.client.gateway.jobs.module_reader import ModuleReader, ReadJob
from ringmill.client.gateway.jobs.reading_order import JobRequest, ReadingOrder
from ringmill.client.gateway.jobs.shown_parts import ShownParts
from ringmill.client.jobs.job_packing import JobOptions
from ringmill.cluster.adapters.containment.level import level_of_kernel
from ringmill.cluster.adapters.containment.software import SHARED_MEMORY
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient

pytestmark = pytest.mark.skipif(bool(level_of_kernel().lack), reason="the kernel contains nothing")

READER = (sys.executable, "-P", "-m", "ringmill.client.gateway.jobs.reading_main", "--forkserver")
KEY = Path(ast.__file__).with_name("this.py")
"""Stands for a key among the software, which modules read otherwise."""
JOB = """
from collections.abc import Iterator
from ringmill import CollectOutput, KvOutput, job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1

mine = job(map=words{output})
"""


def request_of(text: str) -> JobRequest:
    return JobRequest("m.py:mine", {"m.py": text.encode()}, "/in", None, JobOptions())


class Reading:
    """Reads modules with a gateway whose jobs folder and key these are."""

    def __init__(self, reader: ModuleReader, folder: Path, key: Path) -> None:
        self.reader = reader
        self.folder = folder
        self.key = key

    async def read(self, text: str, *, folder: str | None = None) -> ReadJob:
        place = str(self.folder) if folder is None else folder
        return await self.reader.read(ReadingOrder(request_of(text), "mine-1", place, (str(self.key),)))


@pytest.fixture
async def reading(tmp_path: Path) -> AsyncIterator[Reading]:
    (tmp_path / "jobs").mkdir()
    made = iter(range(100))

    def new_folder() -> str:
        folder = tmp_path / f"module-{next(made)}"
        folder.mkdir()
        return str(folder)

    processes = TaskProcesses(READER)
    with closing(OsFileSystem()) as files:
        yield Reading(ModuleReader(processes, files, new_folder), tmp_path / "jobs", KEY)
        await processes.close()


@pytest.fixture
def shared() -> Iterator[str]:
    """A file in shared memory that a module may make."""
    path = Path(SHARED_MEMORY, f"ringmill-test-{os.getpid()}")
    yield str(path)
    path.unlink(missing_ok=True)


async def test_the_folder_of_jobs_is_for_outputs_that_nobody_names(reading: Reading) -> None:
    nobody = await reading.read(JOB.format(output=""))
    assert nobody.spec.output == f"{reading.folder}/mine-1"
    declared = await reading.read(JOB.format(output=", output=KvOutput('index')"))
    assert declared.spec.output_keyspace == "index"
    with pytest.raises(InvalidArgument, match="CollectOutput is for whoever waits"):
        await reading.read(JOB.format(output=", output=CollectOutput()"))
    with pytest.raises(InvalidArgument, match="the job names no output"):
        await reading.read(JOB.format(output=""), folder="")


async def test_parts_for_a_keyspace_are_refused_where_there_is_no_folder_for_them(
    reading: Reading,
) -> None:
    async def closed() -> None: ...

    handed: list[str] = []

    async def hand_over(bundle: Bundle, spec: JobSpec) -> None:
        handed.append(spec.job)

    with closing(OsFileSystem()) as files:
        jobs = GatewayJobs(reading.reader, ShownParts(files), OsEntropy(), closed)
        request = request_of(JOB.format(output=", output=KvOutput('index')"))
        client = cast("AsyncClient", SimpleNamespace(jobs=SimpleNamespace(status=None, hand_over=hand_over)))
        with pytest.raises(InvalidArgument, match="this gateway has no folder in which the parts"):
            await jobs.submit(client, request, jobs.form_inputs())
    assert handed == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("open({key!r}).read()", "Permission denied"),
        ("open({shared!r}, 'wb', 0).write(b'x')", "File too large"),
        ("open('planted', 'w').write('x')", "Permission denied"),
    ],
)
async def test_a_module_reads_no_secret_and_writes_no_byte(
    reading: Reading, shared: str, line: str, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        await reading.read(line.format(key=str(reading.key), shared=shared))
