"""A join gives the pairs that two nested loops give, by either strategy, in any memory and any cut."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ringmill import (
    Command,
    FileInput,
    FileOutput,
    JobDefinition,
    Source,
    Sum,
    broken_laws,
    job,
    join,
    run_local,
)
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.joining import joins
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.run_file import RowBlock
from ringmill.cluster.mapreduce.kernel.hashed.hash_join import HashJoin
from ringmill.cluster.mapreduce.kernel.task import ReduceAttempt, run_reduce
from ringmill.cluster.mapreduce.local import in_process
from ringmill.cluster.mapreduce.local.in_process import LocalResult, run_spec
from tests.cluster.mapreduce import joined_jobs
from tests.cluster.mapreduce.sample_jobs import one

People = list[tuple[Any, str]]
Things = list[tuple[Any, tuple[str, int]]]


@pytest.fixture
def people() -> People:
    draw = random.Random(5)
    return [(draw.choice([None, *range(-40, 40)]), f"n{number}") for number in range(300)]


@pytest.fixture
def things(tmp_path: Path, people: People) -> Things:
    """It writes both tables, each as two files."""
    draw = random.Random(6)
    made = [(draw.choice([None, *range(60)]), (f"t{number}", draw.randrange(99))) for number in range(200)]
    rows = {
        "people": [f"{'-' if key is None else key} {name}" for key, name in people],
        "things": [f"{'-' if key is None else key} {what} {cents}" for key, (what, cents) in made],
    }
    for name, lines in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("\n".join(lines[:150]) + "\n")
        (tmp_path / name / "b").write_text("\n".join(lines[150:]))
    return made


def nested_loops(people: People, things: Things, how: str) -> list[tuple[Any, Any, Any]]:
    pairs: list[tuple[Any, Any, Any]]
    pairs = [(key, name, thing) for key, name in people for other, thing in things if key == other]
    if how in ("left", "outer"):
        pairs += [(key, name, None) for key, name in people if key not in dict(things)]
    if how in ("right", "outer"):
        pairs += [(key, None, thing) for key, thing in things if key not in dict(people)]
    return pairs


def run(definition: JobDefinition, folder: Path, memory_bytes: int = 1 << 26, **more: Any) -> LocalResult:
    inputs = {"people": (f"{folder}/people",), "things": (f"{folder}/things",)}
    spec = JobSpec.of(
        definition, job="j", module="m", name="n", bundle_sha256="", inputs=inputs, output=f"{folder}/out",
        overwrite=True, **more,
    )  # fmt: skip
    return run_spec(definition, replace(spec, split_bytes=700, memory_bytes=memory_bytes), OsFileSystem())


def rows_of(result: LocalResult) -> list[tuple[Any, Any, Any]]:
    rows = [json.loads(line) for part in result.parts for line in Path(part).read_text().splitlines()]
    return [(row["key"], row["value"][0], tuple(row["value"][1] or ()) or None) for row in rows]


STRATEGIES = [
    (how, strategy)
    for how in ("inner", "left", "right", "outer")
    for strategy in ("merge", "hash", "broadcast", "auto")
    if (how, strategy) != ("outer", "broadcast")
]


@pytest.mark.parametrize(("how", "strategy"), STRATEGIES)
def test_the_pairs_are_those_of_nested_loops(
    tmp_path: Path, people: People, things: Things, how: str, strategy: str
) -> None:
    expected = nested_loops(people, things, how)
    for memory_bytes in (1_000, 8_000, 1 << 26) if strategy == "hash" else (8_000, 1 << 26):
        result = run(joined_jobs.joined(how, strategy), tmp_path, memory_bytes)
        assert Counter(rows_of(result)) == Counter(expected)
    assert result.records["reduce_out"] == len(expected)
    shuffled = strategy in ("merge", "hash") or how == "outer"
    assert result.records["map_in"] == (500 if shuffled else 200 if how == "right" else 300)


@pytest.mark.parametrize("how", ["inner", "left"])
def test_keys_and_rows_are_written_as_they_travel_by_either_strategy(tmp_path: Path, how: Any) -> None:
    """An int is a key of a float hint, and a tuple a part of what a hint leaves open."""
    (tmp_path / "left").write_text("0 a\n1 b\n7 c\n")
    (tmp_path / "right").write_text("0 x\n1 y\n1 z\n")
    inputs = {"left": f"{tmp_path}/left", "right": f"{tmp_path}/right"}
    left, right = Source("left", map=joined_jobs.weight), Source("right", map=joined_jobs.amount)
    written = {}
    strategy: Any
    for strategy in ("merge", "hash", "broadcast"):
        both = join(left, right, how=how, result=joined_jobs.seen, strategy=strategy)
        result = run_local(both, inputs, f"{tmp_path}/{strategy}")
        parts = [Path(each).read_text() for each in result.parts]
        written[strategy] = sorted("".join(parts).splitlines())
        assert result.records["reduce_in"] == (len(written[strategy]) if strategy == "broadcast" else 6)
    assert written["merge"] == written["broadcast"] == written["hash"]
    assert written["merge"][0] == "0.0\t[0, ['0 a']] {'of': ['0 x', 0]}"


def test_a_merge_is_in_the_order_of_keys_and_a_broadcast_in_that_of_the_large_side(
    tmp_path: Path, people: People, things: Things
) -> None:
    merged = rows_of(run(joined_jobs.joined("inner", "merge"), tmp_path, reducers=1))
    expected = nested_loops(people, things, "inner")
    assert merged == sorted(expected, key=lambda row: (row[0] is not None, row[0] or 0))  # it is stable
    assert rows_of(run(joined_jobs.joined("inner", "broadcast"), tmp_path)) == expected
    assert Counter(expected) == Counter(merged) != Counter()


def test_a_hash_join_keeps_the_order_of_the_side_with_more_rows_in_a_part(
    tmp_path: Path, people: People, things: Things
) -> None:
    """There are more people than things: people stream past, and things without any come last."""
    assert rows_of(run(joined_jobs.joined("inner", "hash"), tmp_path, reducers=1)) == nested_loops(
        people, things, "inner"
    )
    rows = rows_of(run(joined_jobs.joined("outer", "hash"), tmp_path, reducers=1))
    assert [name for name in dict.fromkeys(row[1] for row in rows) if name] == [name for _, name in people]
    alone = [(key, None, thing) for key, thing in things if key not in dict(people)]
    first_of_keys = list(dict.fromkeys(key for key, _, _ in alone))
    assert rows[-len(alone) :] == sorted(alone, key=lambda row: first_of_keys.index(row[0]))
    (tmp_path / "people" / "a").unlink()
    fewer = people[150:]
    rows = rows_of(run(joined_jobs.joined("inner", "hash"), tmp_path, reducers=1))
    assert rows == [(key, name, thing) for key, thing in things for other, name in fewer if key == other]


@pytest.mark.parametrize("memory_bytes", [2_000, 8_000, 1 << 26])
def test_a_retry_with_more_memory_writes_a_hash_join_in_the_same_order(
    tmp_path: Path, people: People, things: Things, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(joined_jobs.joined("outer", "hash"), tmp_path, memory_bytes)
    parts = [Path(each).read_bytes() for each in first.parts]
    monkeypatch.setattr(in_process, "ReduceAttempt", partial(ReduceAttempt, memory_factor=4))
    again = run(joined_jobs.joined("outer", "hash"), tmp_path, memory_bytes)
    assert [Path(each).read_bytes() for each in again.parts] == parts


def test_one_key_of_all_rows_fits_a_hash_join_of_any_memory(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("".join(f"7 n{number}\n" for number in range(30)))
    (tmp_path / "things").write_text("".join(f"7 t{number} 1\n" for number in range(400)))
    held: list[int] = []
    fill = HashJoin._held

    def noted(self: HashJoin, blocks: Sequence[RowBlock]) -> Any:
        held.append(sum(block.raw_bytes for block in blocks))
        return fill(self, blocks)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HashJoin, "_held", noted)
        rows = rows_of(run(joined_jobs.joined("inner", "hash"), tmp_path, memory_bytes=800))
    assert len(rows) == len(set(rows)) == 30 * 400
    assert len(held) > 1 and max(held) < sum(held) / 2, "it is held block by block"


def test_a_hash_join_of_sides_larger_than_the_buffer_stays_in_its_bounds(tmp_path: Path) -> None:
    """The side that is held has ten times the bytes that may be held at once."""
    memory_bytes = 1 << 19
    for name in ("people", "things"):
        rows = (f"{number} {name}-{number:090}" for number in range(6_000))
        (tmp_path / name).write_text("\n".join(rows))
    definition = join(
        Source("people", map=joined_jobs.person), Source("things", map=joined_jobs.person), strategy="hash"
    )
    spec = JobSpec.of(
        definition, job="j", module="m", name="n", bundle_sha256="", output=f"{tmp_path}/out", reducers=1,
        inputs={name: (f"{tmp_path}/{name}",) for name in ("people", "things")},
    )  # fmt: skip
    peaks: list[int] = []

    def traced(*arguments: Any) -> Any:
        tracemalloc.start()
        try:
            return run_reduce(*arguments)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(in_process, "run_reduce", traced)
        result = run_spec(definition, replace(spec, memory_bytes=memory_bytes), OsFileSystem())
    assert result.records["reduce_out"] == 6_000
    (peak,) = peaks
    assert peak < 3 * memory_bytes, peak


def test_auto_looks_at_the_size_and_left_may_be_the_small_one(
    tmp_path: Path, people: People, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "people" / "a").write_text("3 ada\n")
    (tmp_path / "people" / "b").unlink()
    auto = joined_jobs.joined("inner", "auto")
    small = run(auto, tmp_path)
    assert not auto.kept, "a job that is over holds no rows"
    assert small.records["map_in"] == 200
    assert rows_of(small) == [(3, "ada", thing) for key, thing in things if key == 3]
    monkeypatch.setattr(joins, "BROADCAST_BYTES", 5)
    large = run(joined_jobs.joined("inner", "auto"), tmp_path)
    assert large.records["map_in"] == 201
    assert rows_of(large) == rows_of(small)
    assert large.records["reduce_in"] == 201, "it is a hash join"


@pytest.mark.parametrize("name", ["with_result", "with_result_for_all"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_result_writes_what_it_likes(
    tmp_path: Path, people: People, things: Things, name: str, processes: int
) -> None:
    inputs = {"people": f"{tmp_path}/people", "things": [f"{tmp_path}/things"]}
    result = run_local(getattr(joined_jobs, name), inputs, f"{tmp_path}/out", processes=processes)
    lines = [line for part in result.parts for line in Path(part).read_text().splitlines()]
    expected = nested_loops(people, things, "left")
    assert sorted(lines) == sorted(
        f"{name}/{thing[0]}\t{thing[1]}" if thing else f"{name}/-\t0" for _, name, thing in expected
    )
    assert result.counters == {"pairs": len(expected)}


def test_columns_of_csv_are_joined_by_name(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("id,name\n1,Ada\n2,Bob\n")
    (tmp_path / "things").write_text("person,thing\n2,cup\n2,pot\n3,hat\n")
    inputs = {"people": f"{tmp_path}/people", "things": f"{tmp_path}/things"}
    result = run_local(joined_jobs.by_name, inputs, f"{tmp_path}/out", reducers=1)
    rows = [json.loads(line) for line in Path(result.parts[0]).read_text().splitlines()]
    bob = {"id": "2", "name": "Bob"}
    assert [(row["key"], row["value"]) for row in sorted(rows, key=lambda row: row["key"])] == [
        ("1", [{"id": "1", "name": "Ada"}, None]),
        ("2", [bob, {"person": "2", "thing": "cup"}]),
        ("2", [bob, {"person": "2", "thing": "pot"}]),
        ("3", [None, {"person": "3", "thing": "hat"}]),
    ]
    (tmp_path / "people").write_text("number,name\n1,Ada\n")
    with pytest.raises(JobFailed, match="no column 'id'; there are number, name"):
        run_local(joined_jobs.by_name, inputs, f"{tmp_path}/again")


def test_too_many_right_rows_of_one_key_fail_by_name(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("7 ada\n")
    (tmp_path / "things").write_text("".join(f"7 t{number} 1\n" for number in range(3000)))
    with pytest.raises(JobFailed, match="rows of things and more have the key 7") as failed:
        run(joined_jobs.joined("inner", "merge"), tmp_path, memory_bytes=100_000)
    assert failed.value.detail["cause"] == "OutOfMemory"
    assert rows_of(run(joined_jobs.joined("inner", "merge"), tmp_path))[-1] == (7, "ada", ("t2999", 1))


def fails(offset: int, line: str) -> Iterator[tuple[int, int]]:
    yield 1, 1 // len(line)


def test_an_error_in_the_map_of_the_small_side_names_its_record(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("1 ada\n")
    (tmp_path / "things").write_text("x\n\n")
    definition = join(
        Source("people", map=same), Source("things", map=fails), strategy="broadcast", how="left"
    )
    with pytest.raises(JobFailed, match="ZeroDivisionError") as failed:
        run(definition, tmp_path)
    assert failed.value.detail["position"].endswith("things offset 2")
    assert any("in fails()" in frame for frame in failed.value.detail["frames"])


def same(offset: int, line: str) -> Iterator[tuple[int, int]]:
    yield offset, offset


def by_text(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, offset


def two_rows(key: int, left: int, right: int) -> Iterator[tuple[int, int]]:
    yield key, left + right


A, B = Source("a", map=same), Source("b", map=same)


@pytest.mark.parametrize(
    ("sources", "arguments", "told"),
    [
        ((A, B), {"how": "sideways"}, "how 'sideways' is unknown"),
        ((A, B), {"how": "outer", "strategy": "broadcast"}, "which how='outer' needs"),
        ((A, B), {"strategy": "shuffle"}, "strategy 'shuffle' is unknown"),
        ((A, A), {}, "two sources have one name"),
        ((A, Source("b", map=by_text)), {}, "only keys of one type"),
        ((A, B), {"on": "x"}, "has a map, which gives the key"),
        (
            (Source("a", map=by_text), Source("b", map=Command(["cat"]))),
            {},
            "source b: command 'cat' takes the lines of a whole task",
        ),
        ((A, Source("b")), {}, "source b has no map, and the join no on="),
        ((Source("a", input=FileInput("jsonl")), Source("b")), {"on": "x"}, "rows of jsonl have not"),
        (
            (Source("a", input=FileInput("csv", columns=("x",))), Source("b")),
            {"on": "x"},
            "columns are chosen of a pyarrow",
        ),
        ((Source("a"), Source("b")), {"on": 3}, "on is the name of a column"),
        ((A, B), {"how": "left", "result": two_rows}, "the right row is of type"),
        ((A, B), {"result": same}, "must take a key, a left and a right row"),
    ],
)
def test_joins_that_cannot_be_are_refused(sources: Any, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        join(*sources, **arguments)
    assert join(A, B, result=two_rows)


def test_laws_are_tried_on_a_join() -> None:
    sample: dict[str, Sequence[Any]] = {"people": ["1 ada", "2 bob"], "things": [b"1 cup 5", b"1 pot 6"]}
    assert broken_laws(joined_jobs.with_result, sample) == []


def test_bad_rows_of_both_sides_are_set_aside_once(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("1 ada\nx bob\n2 cat\n")
    (tmp_path / "things").write_text("2 \n1 y\n2 7\n")
    sources = Source("people", map=joined_jobs.person), Source("things", map=weighed)
    inputs = {name: f"{tmp_path}/{name}" for name in ("people", "things")}
    definition = join(*sources)
    assert definition.broadcast_names
    result = run_local(definition, inputs, f"{tmp_path}/out", on_bad_record="quarantine:3")
    lines = [line for part in result.parts for line in Path(part).read_text().splitlines()]
    assert [line for line in lines if line.startswith("2\t")] == ['2\t["cat",7]']
    bad = [json.loads(line) for line in (tmp_path / "out" / "_BAD_RECORDS").read_text().splitlines()]
    assert [row["record"] for row in bad] == ["x bob", "2 ", "1 y"]
    with pytest.raises(InvalidArgument, match="sets a record aside once"):
        broadcast = join(*sources, strategy="broadcast")
        run_local(broadcast, inputs, f"{tmp_path}/more", on_bad_record="quarantine:3")


def weighed(offset: int, line: str) -> Iterator[tuple[int | None, int]]:
    key, weight = line.split(" ")
    yield int(key), int(weight)


def passed(key: str, count: int) -> Iterator[tuple[str, int]]:
    yield key, count


@pytest.mark.parametrize("strategy", ["merge", "hash", "broadcast"])
def test_typed_records_are_joined_by_either_strategy(tmp_path: Path, strategy: Any) -> None:
    (tmp_path / "in").write_text("a b c a")
    counted = job(map=one, reduce=Sum(), output=FileOutput("records"))
    for name in ("left", "right"):
        run_local(counted, f"{tmp_path}/in", f"{tmp_path}/{name}")
    sources = [Source(name, map=passed, input=FileInput("records")) for name in ("left", "right")]
    inputs = {name: f"{tmp_path}/{name}" for name in ("left", "right")}
    result = run_local(join(*sources, strategy=strategy), inputs, f"{tmp_path}/out")
    rows = "".join(Path(part).read_text() for part in result.parts).splitlines()
    assert sorted(rows) == ["a\t[2,2]", "b\t[1,1]", "c\t[1,1]"]
