"""`group_by`: one group of all keys with the same first parts, its values in the order of the whole key."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill import Count, broken_laws, job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files import external_sort
from ringmill.cluster.mapreduce.local.in_process import run_spec
from tests.cluster.mapreduce import grouped_jobs

Row = tuple[str, int, str, int]
USERS = ["u", "u\x00", "u\x00\x01", "u\x01", "uu", ""]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """User, day, page and offset of each line; users whose names begin with one another's."""
    draw = random.Random(3)
    days = [draw.randrange(-300, 300) for _ in range(4000)]
    lines = [f"{draw.choice(USERS)} {day} p{draw.randrange(3)}" for day in days]
    (tmp_path / "in").write_text("\n".join(lines))
    made, at = [], 0
    for line in lines:
        user, day, page = line.split(" ")
        made.append((user, int(day), page, at))
        at += len(line) + 1
    return made


def run(definition: JobDefinition, folder: Path, memory_bytes: int, monkeypatch: Any) -> list[list[bytes]]:
    monkeypatch.setattr(external_sort.narrow, "__kwdefaults__", {"factor": 3})
    spec = JobSpec.of(
        definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{folder}/in",),
        output=f"{folder}/out",
    )  # fmt: skip
    spec = replace(spec, split_bytes=9000, memory_bytes=memory_bytes, overwrite=True)
    result = run_spec(definition, spec, OsFileSystem())
    return [Path(part).read_bytes().splitlines() for part in result.parts]


@pytest.mark.parametrize("memory_bytes", [30_000, 1 << 26])
@pytest.mark.parametrize("name", ["by_time", "by_rows", "placed", "totally", "collected"])
def test_values_come_in_the_order_of_the_whole_key(
    tmp_path: Path, rows: list[Row], name: str, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = run(getattr(grouped_jobs, name), tmp_path, memory_bytes, monkeypatch)
    written = [json.loads(line) for part in parts for line in part]
    expected: defaultdict[str, list[int]] = defaultdict(list)
    for user, _, _, offset in sorted(rows):
        expected[user].append(offset)
    assert {row["key"]: row["value"] for row in written} == expected
    assert len(written) == len(expected)  # a group lies in one part, once
    if name == "totally":
        assert [row["key"] for row in written] == sorted(USERS)
    if name == "placed":
        assert all(len(json.loads(line)["key"]) % 4 == n for n, part in enumerate(parts) for line in part)


@pytest.mark.parametrize("memory_bytes", [30_000, 1 << 26])
def test_combine_and_folds_see_whole_keys_and_reduce_sees_groups(
    tmp_path: Path, rows: list[Row], memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: defaultdict[str, int] = defaultdict(int)
    least: dict[str, int] = {}
    days: dict[str, int] = {}
    for user, day, _, offset in sorted(rows):
        sums[user] += offset
        least[user] = min(offset, least.get(user, offset))
        days.setdefault(f"{user}.{day}", offset)
    for name, expected in (("summed", sums), ("shortened", least)):
        parts = run(getattr(grouped_jobs, name), tmp_path, memory_bytes, monkeypatch)
        assert {row["key"]: row["value"] for part in parts for row in map(json.loads, part)} == expected
    parts = run(grouped_jobs.days, tmp_path, memory_bytes, monkeypatch)
    assert dict(line.decode().split("\t") for part in parts for line in part) == {
        day: str(offset) for day, offset in days.items()
    }


def flat(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def many(offset: int, line: str) -> Iterator[tuple[tuple[str, ...], int]]:
    yield (line,), 1


def wrong_group(user: int, values: Iterable[int]) -> Iterator[tuple[int, int]]:
    yield user, 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"map": flat, "reduce": Count(), "group_by": 1}, "keys of type str"),
        ({"map": many, "reduce": Count(), "group_by": 1}, "more than 1 parts"),
        ({"map": grouped_jobs.visits, "reduce": Count(), "group_by": 3}, "more than 3 parts"),
        ({"map": grouped_jobs.visits, "reduce": Count(), "group_by": -1}, "group_by"),
        ({"map": grouped_jobs.visits, "reduce": wrong_group, "group_by": 1}, "a key of type str"),
        ({"map": grouped_jobs.visits, "reduce": grouped_jobs.first_of_day, "group_by": 1}, "type str"),
        ({"map": grouped_jobs.visits, "group_by": 1}, "no reduce|there is none"),
        ({"map": grouped_jobs.visits, "group_by": 1, "order": "input"}, "no place for group_by"),
    ],
)
def test_a_job_is_refused_whose_groups_cannot_be(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        job(**arguments)


def test_laws_are_tried_on_groups() -> None:
    sample = ["ada 3 p1", "ada 1 p0", "bob 2 p0", "ada 3 p1"]
    for name in ("by_time", "collected", "summed", "shortened"):
        assert broken_laws(getattr(grouped_jobs, name), sample) == []
    broken = job(
        map=grouped_jobs.visits, combine=grouped_jobs.earliest, reduce=grouped_jobs.total, group_by=1
    )
    assert "how often it runs" in broken_laws(broken, sample)[0]


@pytest.mark.parametrize("memory_bytes", [30_000, 1 << 26])
@pytest.mark.parametrize("name", ["weighed", "weighed_groups"])
def test_the_part_of_a_key_does_not_follow_from_the_form_in_which_a_map_gave_it(
    tmp_path: Path, name: str, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits of 9,000 bytes: some have 1 alone, some 1.0, and one both."""
    (tmp_path / "in").write_text("1\n" * 8000 + "1.0\n" * 6000 + "-0.0\n0\n")
    parts = run(getattr(grouped_jobs, name), tmp_path, memory_bytes, monkeypatch)
    assert sorted(line for part in parts for line in part) == [b"0.0\t2", b"1.0\t14000"]
