"""What tasks take of the machine that five nodes share, typed in a shell: its memory, and its cores."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.waiting import until

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

RESERVING: Final = """
import mmap
from ringmill import FileInput, Sum, job

held = []

def words(lines: list[bytes]) -> list[tuple[str, int]]:
    held.append(mmap.mmap(-1, 1500 << 20))  # and touches none of it
    return [(word.decode(), 1) for line in lines for word in line.split()]

counted = job(map_batch=words, reduce=Sum(), input=FileInput("bytes"), reducers=1)
"""
WITH_NUMPY: Final = """
import numpy
from ringmill import FileInput, Sum, job

def words(lines: list[bytes]) -> list[tuple[str, int]]:
    found, counts = numpy.unique(numpy.array(b" ".join(lines).split()), return_counts=True)
    return [(word.decode(), int(count)) for word, count in zip(found, counts)]

counted = job(map_batch=words, reduce=Sum(), input=FileInput("bytes"), reducers=1)
"""
WITH_POLARS: Final = """
import polars
from ringmill import FileInput, Sum, job

def words(lines: list[bytes]) -> list[tuple[str, int]]:
    frame = polars.DataFrame({"line": [line.decode() for line in lines]})
    found = frame.lazy().select(polars.col("line").str.split(" ").explode()).group_by("line").len().collect()
    return [(word, count) for word, count in found.iter_rows()]

counted = job(map_batch=words, reduce=Sum(), input=FileInput("bytes"), reducers=1)
"""

NAPS: Final = """
from collections.abc import Iterator
import time
from ringmill import job

def nap(offset: int, line: str) -> Iterator[tuple[str, str]]:
    if not line.strip():
        return
    begun = time.monotonic()
    time.sleep(0.15)
    yield f"{begun:.4f}", f"{time.monotonic():.4f}"

naps = job(map=nap, reducers=0)
"""
HELD: Final = """
import os
import time
from collections.abc import Iterable, Iterator
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    wait_for("maps")
    for word in line.split():
        yield word, 1

def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    wait_for("reduces")
    yield word, sum(counts)

def wait_for(what: str) -> None:
    while not os.path.exists(os.path.join({folder!r}, what)):
        time.sleep(0.02)

counted = job(map=words, reduce=total, reducers=2)
"""
INDEX: Final = Path(__file__).resolve().parents[4] / "examples" / "inverted_index.py"


@pytest.mark.parametrize(
    ("library", "source", "options"),
    [("", RESERVING, ("--memory", "256")), ("numpy", WITH_NUMPY, ()), ("polars", WITH_POLARS, ())],
    ids=["reserves 1.5 GiB", "numpy", "polars"],
)
def test_memory_that_is_reserved_and_not_used_counts_to_no_task(
    shell: Shell, library: str, source: str, options: tuple[str, ...]
) -> None:
    if library:
        pytest.importorskip(library)
    name = library or "reserving"
    (shell.folder / f"{name}_job.py").write_text(source)
    (shell.folder / f"{name}.txt").write_text("b a b\nc a\n" * 1000)
    line = ("job", "run", f"{name}_job.py:counted", "--input", f"{name}.txt", "--output", f"{name}-out")
    done = shell.ok(*line, *options, "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["tasks"]["retried"] == 0
    printed = shell.ok("job", "output", done["job"], "--cat").out.decode().splitlines()
    assert sorted(printed) == ["a\t2000", "b\t2000", "c\t1000"]


def test_five_nodes_on_one_machine_have_no_more_tasks_at_once_than_it_has_cores(shell: Shell) -> None:
    cores = os.cpu_count() or 1
    if cores >= 5:
        pytest.skip("five nodes with a slot each are no more than the cores of this machine")
    (shell.folder / "naps.py").write_text(NAPS)
    inputs = shell.folder / "naps"
    inputs.mkdir()
    for number in range(7):
        (inputs / f"{number}.txt").write_text("nap\n" + " " * 600_000 + "\n")  # a map task each
    line = ("job", "run", "naps.py:naps", "--input", "naps/*.txt", "--output", "naps-out", "--split-mib", "1")
    done = shell.ok(*line, "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["tasks"]["map"] == 7
    printed = shell.ok("job", "output", done["job"], "--cat").out.decode().splitlines()
    naps = [tuple(map(float, each.split("\t"))) for each in printed]
    at_once = max(sum(begun <= at < ended for begun, ended in naps) for at, _ in naps)
    assert len(naps) == 7 and 1 <= at_once <= cores


def running(shell: Shell, kind: str) -> set[str]:
    """The nodes at which tasks of the newest job run now."""
    newest = shell.ok("job", "list", "-o", "json").json[:1]
    if not newest or newest[0]["name"] != "held:counted":
        return set()
    told = shell.ok("job", "status", newest[0]["job"], "-o", "json").json["task_list"]
    return {one["node"] for one in told if one["task"].startswith(kind) and one["state"] == "running"}


def test_two_maps_run_at_once_on_two_nodes_then_two_reduces_and_each_task_counts_once(shell: Shell) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core runs one task at a time")
    folder, output = shell.folder / "held", shell.folder / "held-out"
    folder.mkdir()
    (shell.folder / "held.py").write_text(HELD.format(folder=str(folder)))
    for number in range(2):  # a map task each
        words = " ".join(f"word{each % 20}" for each in range(number, 30 + number))
        (folder / f"{number}.txt").write_text(f"{words}\n" + " " * 600_000 + "\n")
    line = ("held.py:counted", "--input", "held/*.txt", "--split-mib", "1", "--output")
    waiting = shell.start("job", "run", *line, output.name, "-o", "json")
    for kind in ("map", "reduce"):
        until(lambda kind=kind: len(running(shell, kind)) == 2)  # type: ignore[misc]
        assert waiting.poll() is None and not output.exists(), "nobody is told before it is all over"
        (folder / f"{kind}s").touch()
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    told = shell.files_in(output.name)
    done = json.loads(out)
    attempts = shell.ok("job", "status", done["job"], "-o", "json").json["attempts"]
    assert done["state"] == "SUCCEEDED"
    counted = [one["task"] for one in attempts if one["counts"]]  # a slow one may have had a second attempt
    assert sorted(counted) == ["map-0", "map-1", "reduce-0", "reduce-1"]
    shell.ok("job", "local", *line, "held-alone")
    assert told == shell.files_in("held-alone") == shell.files_in(output.name)


def test_an_index_that_nodes_make_is_that_of_one_process(shell: Shell) -> None:
    folder = shell.folder / "books"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(" ".join(f"word{each}" for each in range(0, 300, number + 1)))
    line = (f"{INDEX}:inverted_index", "--input", "books/*.txt", "--output")
    assert shell.ok("job", "run", *line, "index", "-o", "json").json["state"] == "SUCCEEDED"
    shell.ok("job", "local", *line, "index-alone")
    assert shell.files_in("index") == shell.files_in("index-alone")
