"""A job packed here loads in a fresh process that has nothing but the bundle."""

from __future__ import annotations

import importlib
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ringmill.client.jobs.job_modules import Target, load_job_module
from ringmill.client.jobs.job_packing import PackedJob, packed_job_of
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.run_local import new_name
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import check_bundle

ROOT = Path(__file__).parents[3]

JOB = """
from collections.abc import Iterator
from ringmill import job
from {helper} import shout

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield shout(line), 1

loud = job(map=words)
"""


@pytest.mark.parametrize("folder", ["", "loud_tools/inner/"])  # without __init__.py
def test_a_packed_job_loads_from_its_bundle_alone_in_another_process(tmp_path: Path, folder: str) -> None:
    (tmp_path / "sources" / folder).mkdir(parents=True)
    (tmp_path / "sources" / "loud_job.py").write_text(
        JOB.format(helper=f"{folder}loud_words".replace("/", "."))
    )
    (tmp_path / "sources" / folder / "loud_words.py").write_text(
        "def shout(text: str) -> str:\n    return text.upper()\n"
    )
    packed = load_job_module(f"{tmp_path}/sources/loud_job.py:loud", OsFileSystem(), "/")
    assert (packed.module, packed.name) == ("loud_job", "loud")
    assert packed.bundle.files == ("loud_job.py", f"{folder}loud_words.py")
    bundle = tmp_path / f"{packed.bundle.sha256}.zip"
    bundle.write_bytes(packed.bundle.data)
    check_bundle(packed.bundle.data, packed.bundle.sha256)
    program = (
        "import sys\nfrom ringmill.cluster.mapreduce.kernel.task import job_from_bundle\n"
        "job = job_from_bundle(sys.argv[1], 'loud_job', 'loud')\nprint(list(job.map(0, 'hey')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, bundle], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[('HEY', 1)]\n", "")


async def test_no_id_of_a_job_is_drawn_twice(tmp_path: Path) -> None:
    """Two jobs of one id are one job: with 3 random bytes one in 17 million pairs was."""
    name = "a_job_whose_name_is_longer_than_forty_characters"
    (tmp_path / "job.py").write_text(JOB.replace("from {helper} import shout\n", "shout = str.upper\n"))
    (tmp_path / "job.py").write_text((tmp_path / "job.py").read_text().replace("loud", name))

    packed = await _packed(f"{tmp_path}/job.py:{name}", tmp_path)
    stem, _, tail = packed.spec.job.rpartition("-")
    assert (len(tail), len(stem)) == (16, 40)
    assert len(new_name().rpartition("-")[2]) == 16


async def test_a_job_object_is_refused_once_its_file_says_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes would run the new functions with the old settings."""
    source = JOB.format(helper="changing_words")
    (tmp_path / "changing_words.py").write_text("shout = str.upper\n")
    (tmp_path / "changing_job.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    loud = importlib.import_module("changing_job").loud
    await _packed(loud, tmp_path)
    (tmp_path / "changing_job.py").write_text(f"# it is loud\n{source}")
    assert (await _packed(loud, tmp_path)).definition is loud
    (tmp_path / "changing_job.py").write_text(source.replace("map=words", "map=words, reducers=9"))
    with pytest.raises(InvalidArgument, match="has changed since it was imported: reducers"):
        await _packed(loud, tmp_path)
    (tmp_path / "changing_job.py").write_text(
        source.replace("int]]", "float]]").replace("shout(line), 1", "shout(line), 1.5")
    )
    with pytest.raises(InvalidArgument, match="has changed since it was imported: the types of its records"):
        await _packed(loud, tmp_path)


async def _packed(target: Target, folder: Path) -> PackedJob:
    async def unknown(job: str) -> JobState:
        raise AssertionError(job)

    return await packed_job_of(
        target,
        files=lambda: closing(OsFileSystem()),
        entropy=OsEntropy(),
        status=unknown,
        input=str(folder / "*.py"),
        output=str(folder / "out"),
        reducers=None,
        params=None,
        overwrite=False,
        split_mib=None,
        side=None,
        on_bad_record=None,
        weight=1,
        network=False,
        task_memory_mib=None,
    )
