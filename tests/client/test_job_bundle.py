"""From PATH.py:NAME to a packed job, and back in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client.bundle import open_job
from cluster.errors import InvalidArgument

ROOT = Path(__file__).parents[2]

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
    packed = open_job(f"{tmp_path}/sources/loud_job.py:loud")
    assert (packed.module, packed.name) == ("loud_job", "loud")
    assert packed.bundle.files == ("loud_job.py", "loud_words.py")
    bundle = tmp_path / f"{packed.bundle.sha256}.zip"
    bundle.write_bytes(packed.bundle.data)
    program = (
        "import sys\nfrom cluster.mapreduce.task import load_job\n"
        "job = load_job(sys.argv[1], 'loud_job', 'loud')\nprint(list(job.map(0, 'hey')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, bundle], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[('HEY', 1)]\n", "")


def test_a_module_of_a_package_is_packed_from_the_packages_parent(tmp_path: Path) -> None:
    package = tmp_path / "shop_jobs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sales.py").write_text(JOB.format(helper="shop_jobs.words"))
    (package / "words.py").write_text("def shout(text: str) -> str:\n    return text\n")
    packed = open_job(f"{package}/sales.py:loud")
    assert packed.module == "shop_jobs.sales"
    assert packed.bundle.files == ("shop_jobs/__init__.py", "shop_jobs/sales.py", "shop_jobs/words.py")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("x = 1 / 0", r"ZeroDivisionError.*\n.*:1"),
        ("from ringmill import job\nj = job(map=lambda o, l: [])", "lambda at .*:2"),
        ("j = 3", "is a int, not a job"),
        ("", "does not exist; there is none"),
    ],
)
def test_a_module_that_cannot_be_a_job_is_refused_with_the_reason(
    tmp_path: Path, source: str, message: str, request: pytest.FixtureRequest
) -> None:
    name = f"bad_job_{abs(hash(request.node.name)) % 10**9}"
    (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(InvalidArgument, match=f"(?s){message}"):
        open_job(f"{tmp_path}/{name}.py:j")


@pytest.mark.parametrize("target", ["job.py", "job:x", "missing.py:x"])
def test_a_target_that_is_no_file_and_name_is_refused(target: str) -> None:
    with pytest.raises(InvalidArgument):
        open_job(target)
