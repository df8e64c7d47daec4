"""A job of several inputs: each has its own map and format, and their order is that of the sources."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringmill import FileInput, Source, broken_laws, job, run_local
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.spec import JobSpec
from tests.cluster.mapreduce import many_inputs, sample_jobs


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """`orders` is two files, the later one before the first by its path."""
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "2.csv").write_text("".join(f"c{n % 7},{n}\n" for n in range(40)))
    (tmp_path / "z" / "1.csv").write_text("c1,1000\nc9,5\n")
    (tmp_path / "a.txt").write_bytes(b"c1 7\nc3 9\n")
    (tmp_path / "names.jsonl").write_text('{"customer": "c1", "name": "Ada"}\n')
    return {
        "orders": f"{tmp_path}/z", "refunds": [f"{tmp_path}/a.txt"], "names": f"{tmp_path}/names.jsonl"
    }  # fmt: skip


def chosen(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: inputs[name] for name in names}


@pytest.mark.parametrize("processes", [1, 2])
def test_each_input_goes_through_its_own_map(tmp_path: Path, inputs: dict[str, Any], processes: int) -> None:
    wanted: defaultdict[str, int] = defaultdict(int)
    for n in range(40):
        wanted[f"c{n % 7}"] += n
    wanted["c1"] += 1000 - 7
    wanted["c3"] -= 9
    wanted["c9"] = 5
    result = run_local(
        many_inputs.balance, chosen(inputs, "refunds", "orders"), f"{tmp_path}/out", processes=processes
    )
    lines = [line.split("\t") for part in result.parts for line in Path(part).read_text().splitlines()]
    assert {name: int(cents) for name, cents in lines} == wanted
    assert result.records["map_in"] == 44


def test_sources_come_in_their_order_and_files_in_that_of_paths(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    given = [f"orders={inputs['orders']}", f"names={inputs['names']}", f"refunds={inputs['refunds'][0]}"]
    result = run_local(many_inputs.everything, given, f"{tmp_path}/out", reducers=1)
    rows = {
        row["key"]: row["value"] for row in map(json.loads, Path(result.parts[0]).read_text().splitlines())
    }
    assert rows["c1"] == [-7, "Ada", 1000, 1, 8, 15, 22, 29, 36]
    result = run_local(
        many_inputs.listed, chosen(inputs, "refunds", "orders"), f"{tmp_path}/listed", reducers=2
    )
    lines = "".join(Path(part).read_text() for part in result.parts).splitlines()
    assert lines[:4] == ["c1\t-7", "c3\t-9", "c1\t1000", "c9\t5"]
    assert len(lines) == 44


def test_values_stay_whichever_source_gives_keys_alone(tmp_path: Path, inputs: dict[str, Any]) -> None:
    given = {"keys": inputs["refunds"], "pairs": f"{tmp_path}/z/1.csv"}
    for name in ("keys_first", "keys_last"):
        result = run_local(getattr(many_inputs, name), given, f"{tmp_path}/{name}", reducers=1)
        lines = Path(result.parts[0]).read_text().splitlines()
        assert sorted(lines) == ["c1\t", "c1\t1000", "c3\t", "c9\t5"], name


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x.csv", "does not say for which source"),
        (["orders=a", "b"], "does not say for which source"),
        (["orders=a", "refunds="], "does not say for which source"),
        ({"orders": "a"}, "no input for refunds"),
        ({"orders": "a", "refunds": []}, "no input for refunds"),
        ({"orders": "a", "refunds": "b", "more": "c"}, "no source 'more'"),
        ({"orders": "a", "refunds": ""}, "is no path"),
        (3, "does not say for which source"),
    ],
)
def test_every_source_has_to_be_named(tmp_path: Path, given: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        run_local(many_inputs.balance, given, f"{tmp_path}/out")


def test_a_job_of_one_input_has_no_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="one input without a name"):
        run_local(sample_jobs.folded, {"a": "b"}, f"{tmp_path}/out")


def test_an_input_is_refused_by_the_format_of_its_own_source(tmp_path: Path, inputs: dict[str, Any]) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(30) + b"PAR1")
    with pytest.raises(InvalidArgument, match=r"x\.parquet cannot be read as csv"):
        run_local(
            many_inputs.balance,
            {"orders": f"{tmp_path}/x.parquet", "refunds": inputs["refunds"]},
            f"{tmp_path}/out",
        )


def by_number(offset: int, line: str) -> Iterator[tuple[int, int]]:
    yield 1, 2


def words(offset: int, line: str) -> Iterator[tuple[str, tuple[int, str]]]:
    yield line, (1, line)


ORDERS = Source("orders", map=many_inputs.orders, input=FileInput("csv"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sources": [ORDERS, Source("other", map=by_number)]}, "keys of one type"),
        ({"sources": [ORDERS, Source("other", map=words)]}, "told apart"),
        ({"sources": [ORDERS, ORDERS]}, "two sources have one name"),
        ({"sources": [ORDERS, Source("a b", map=by_number)]}, "is no name"),
        ({"sources": [Source("orders")]}, "source orders needs map or map_batch"),
        ({"sources": [ORDERS], "map": by_number}, "either sources or map"),
        ({"sources": [ORDERS], "order": "total"}, "samples one input"),
        ({"sources": [Source("orders", map=many_inputs.orders)]}, "gives a value of type str"),
        ({"sources": ["orders"]}, "Source objects"),
    ],
)
def test_sources_that_do_not_fit_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        job(**arguments)


def test_laws_are_tried_on_a_sample_of_each_source() -> None:
    sample = {"orders": [["c1", "5"], ["c1", "6"]], "refunds": [b"c1 7"]}
    assert broken_laws(many_inputs.balance, sample) == []
    with pytest.raises(InvalidArgument, match="orders, refunds"):
        broken_laws(many_inputs.balance, [["c1", "5"]])


def test_a_description_keeps_its_sources() -> None:
    spec = JobSpec.of(
        many_inputs.balance, job="j", module="m", name="n", bundle_sha256="",
        inputs={"refunds": ("/c",), "orders": ("/a", "/b")}, output="/o",
    )  # fmt: skip
    assert JobSpec.decode(spec.encode()) == spec
    assert [(each.source, each.format, each.paths) for each in spec.readings] == [
        ("orders", "csv", ("/a", "/b")), ("refunds", "bytes", ("/c",)),
    ]  # fmt: skip
