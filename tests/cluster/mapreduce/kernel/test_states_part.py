"""The part with the states of a round is what was written, or the attempt fails and says why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringmill import FileInput, FileOutput, job, run_local
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.kernel.states_part import StatesPart


def numbers(offset: int, line: str) -> Iterator[tuple[int, str]]:
    yield int(line), line


def messages(number: int, state: str) -> Iterator[tuple[int, int]]:
    yield number, 1


def updated(number: int, state: str | None, values: Iterable[int]) -> str:
    return state or ""


load = job(map=numbers, output=FileOutput("records"), reducers=2)
step = job(map=messages, update=updated, input=FileInput("records"), output=FileOutput("records"), reducers=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").write_text("".join(f"{number}\n" for number in range(5000)))
    run_local(load, str(tmp_path / "in"), str(tmp_path / "states"))
    return tmp_path / "states"


def read(folder: Path, partition: int = 0) -> list[tuple[Any, Any]]:
    with closing(OsFileSystem()) as files:
        part = StatesPart(step, files, str(folder), partition)
        taken: list[int] = []
        rows = [row for _, *sides in part.blocks(taken.append) for row in zip(*sides, strict=True)]
        assert sum(taken) == part.size
    return rows


def test_all_states_are_read_in_the_order_of_their_keys(folder: Path) -> None:
    rows = [read(folder, partition) for partition in range(2)]
    assert all(part == sorted(part) for part in rows)
    assert sorted(rows[0] + rows[1]) == [(number, str(number)) for number in range(5000)]


def changed(folder: Path, how: str) -> None:
    part, other = folder / "part-00000", folder / "part-00001"
    data = part.read_bytes()
    if how == "gone":
        part.unlink()
    elif how == "no manifest":
        (folder / "_SUCCESS").unlink()
    elif how == "torn manifest":
        (folder / "_SUCCESS").write_text('{"version": 1, "parts": [')
    elif how == "not in the manifest":
        (folder / "_SUCCESS").write_text('{"version": 1, "parts": []}')
    elif how == "cut":
        part.write_bytes(data[:-1])
    elif how == "another":
        part.write_bytes(other.read_bytes().ljust(len(data), b"\xc0")[: len(data)])
    elif how == "flipped":
        part.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif how == "nothing":
        part.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "cause", "message"),
    [
        ("gone", Cause.INPUT_CHANGED, "part-00000 with the states of the round before is gone"),
        ("no manifest", Cause.INPUT_CHANGED, "has no manifest beside it any more"),
        ("torn manifest", Cause.CORRUPT_DATA, "is in no manifest"),
        ("not in the manifest", Cause.CORRUPT_DATA, "is in no manifest"),
        ("cut", Cause.INPUT_CHANGED, r"has \d+ bytes, \d+ were written: it has changed"),
        ("nothing", Cause.INPUT_CHANGED, r"has 0 bytes, \d+ were written: it has changed"),
        ("another", Cause.CORRUPT_DATA, "no typed records|were written"),
        ("flipped", Cause.CORRUPT_DATA, "does not match its checksum"),
    ],
)
def test_a_part_that_is_not_what_was_written_fails_its_reduce(
    folder: Path, how: str, cause: Cause, message: str
) -> None:
    changed(folder, how)
    with pytest.raises(TaskFailed, match=message) as caught:
        read(folder)
    assert caught.value.cause is cause


def test_a_part_that_lost_a_whole_block_is_told_by_its_manifest(folder: Path) -> None:
    """Each block that is left is sound, and so is the size that a new manifest tells."""
    manifest = folder / "_SUCCESS"
    part = folder / "part-00000"
    size = part.stat().st_size
    end = part.read_bytes().rindex(b"RMREC") - 2
    part.write_bytes(part.read_bytes()[:end])
    manifest.write_text(manifest.read_text().replace(str(size), str(end)))
    with pytest.raises(TaskFailed, match="states and checksum") as caught:
        read(folder)
    assert caught.value.cause is Cause.CORRUPT_DATA


def test_parts_of_another_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{number % 100}\n" for number in range(5000, 0, -7)))
    unsorted = job(map=numbers, output=FileOutput("records"), order="input", reducers=1)
    run_local(unsorted, str(tmp_path / "in"), str(tmp_path / "states"))
    with pytest.raises(TaskFailed, match="is not in the order of its keys"):
        read(tmp_path / "states")
