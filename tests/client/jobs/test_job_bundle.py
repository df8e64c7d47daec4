"""A job packed here loads in a fresh process that has nothing but the bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ringmill.client.jobs.job_modules import load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem

ROOT = Path(__file__).parents[3]

JOB = """
from collections.abc import Iterator
from ringmill import job
from {helper} import shout

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield shout(line), 1

loud = job(map=words)
"""


def test_a_packed_job_loads_from_its_bundle_alone_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "loud_job.py").write_text(JOB.format(helper="loud_words"))
    (tmp_path / "sources" / "loud_words.py").write_text(
        "def shout(text: str) -> str:\n    return text.upper()\n"
    )
    packed = load_job_module(f"{tmp_path}/sources/loud_job.py:loud", OsFileSystem(), "/")
    assert (packed.module, packed.name) == ("loud_job", "loud")
    assert packed.bundle.files == ("loud_job.py", "loud_words.py")
    bundle = tmp_path / f"{packed.bundle.sha256}.zip"
    bundle.write_bytes(packed.bundle.data)
    program = (
        "import sys\nfrom ringmill.cluster.mapreduce.kernel.task import job_from_bundle\n"
        "job = job_from_bundle(sys.argv[1], 'loud_job', 'loud')\nprint(list(job.map(0, 'hey')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, bundle], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[('HEY', 1)]\n", "")
