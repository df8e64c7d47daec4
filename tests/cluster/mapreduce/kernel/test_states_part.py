"""The part with the states of a round is what was written, or the job fails and says why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
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
    ("how", "message"),
    [
        ("gone", "is gone"),
        ("no manifest", "has no manifest beside it any more"),
        ("torn manifest", "is in no manifest"),
        ("not in the manifest", "is in no manifest"),
        ("cut", r"has \d+ bytes, \d+ were written: it has changed"),
        ("nothing", r"has 0 bytes, \d+ were written: it has changed"),
        ("another", "holds no typed records|were written"),
        ("flipped", "holds no typed records: a block does not match its checksum: it has changed"),
    ],
)
def test_a_part_that_is_not_what_was_written_fails_its_job_and_blames_no_node(
    folder: Path, how: str, message: str
) -> None:
    changed(folder, how)
    with pytest.raises(
        TaskFailed, match=f"part-00000 with the states of the round before ({message})"
    ) as caught:
        read(folder)
    assert caught.value.cause is Cause.INPUT_CHANGED


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
    assert caught.value.cause is Cause.INPUT_CHANGED


def test_the_part_of_another_round_is_told_by_its_checksum_alone(folder: Path, tmp_path: Path) -> None:
    """Of as many bytes, the same keys in the same order, and sound blocks."""
    (tmp_path / "later").write_text("".join(f"{number}\n" for number in range(5000)))
    run_local(replace(load, map=numbers_turned), str(tmp_path / "later"), str(tmp_path / "others"))
    part, other = folder / "part-00000", tmp_path / "others/part-00000"
    assert part.stat().st_size == other.stat().st_size
    part.write_bytes(other.read_bytes())
    with pytest.raises(TaskFailed, match="states and checksum"):
        read(folder)


def numbers_turned(offset: int, line: str) -> Iterator[tuple[int, str]]:
    yield int(line), line[::-1]


def test_the_number_of_states_is_compared_too(folder: Path) -> None:
    manifest = folder / "_SUCCESS"
    told = json.loads(manifest.read_text())
    told["parts"][0]["records"] += 1
    manifest.write_text(json.dumps(told))
    with pytest.raises(TaskFailed, match=r"has \d+ states and checksum"):
        read(folder)


def test_a_key_with_two_states_in_one_part_is_refused_also_between_two_blocks(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{max(number, 1)}\n" for number in range(1025, -1, -1)))
    run_local(replace(load, reducers=1), str(tmp_path / "in"), str(tmp_path / "twice"))
    with pytest.raises(TaskFailed, match="the key 1 has two states"):
        read(tmp_path / "twice")
    (tmp_path / "in").write_text("".join(f"{min(number, 1023)}\n" for number in range(1025)))
    run_local(replace(load, reducers=1), str(tmp_path / "in"), str(tmp_path / "across"))
    with pytest.raises(TaskFailed, match="the key 1023 has two states"):
        read(tmp_path / "across")


def test_parts_of_another_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{number % 100}\n" for number in range(5000, 0, -7)))
    unsorted = job(map=numbers, output=FileOutput("records"), order="input", reducers=1)
    run_local(unsorted, str(tmp_path / "in"), str(tmp_path / "states"))
    with pytest.raises(TaskFailed, match="round before is not in the order of its keys"):
        read(tmp_path / "states")
