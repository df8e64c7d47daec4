"""A join of two keyspaces gives the same pairs by each strategy; co-partitioned it has no reduce at all."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ringmill import FileInput, FileOutput, KvInput, Source, Sum, job, join, pipeline, run_local
from ringmill.cluster.errors import InvalidArgument, JobFailed, ProtocolMismatch
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of as spec_of_any
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of
from ringmill.cluster.mapreduce.api.chains.stages import START
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.splits import PartitionSpan, Split
from tests.cluster.mapreduce import joined_jobs

Records = list[tuple[bytes, list[bytes]]]
USERS: Records = [(b"{u%d}" % number, [b"name %d" % number]) for number in range(40)]
ORDERS: Records = [(b"{u%d}/%d" % (number % 60, number), [b"%d" % number]) for number in range(200)]


def run(folder: Path, definition: Any, users: Records = USERS, orders: Records = ORDERS) -> Any:
    records = {"users": users, "orders": orders}
    return run_local(definition, output=f"{folder}/out", records=records, overwrite=True)


def lines_of(result: Any) -> list[str]:
    return [line for part in result.parts for line in Path(part).read_text().splitlines()]


def nested_loops(how: str) -> list[str]:
    """In the order of the users, each with its orders; orders of nobody last."""
    rows = []
    for key, (name,) in USERS:
        found = [cents.decode() for order, (cents,) in ORDERS if order.startswith(key)]
        alone = ["None"] if how in ("left", "outer") else []
        rows += [f"{key[1:-1].decode()}\t{name.decode()} {cents}" for cents in found or alone]
    nobodys = [(order[1:].partition(b"}")[0].decode(), cents.decode()) for order, (cents,) in ORDERS[40:]]
    if how in ("right", "outer"):
        users = list(dict.fromkeys(user for user, _ in nobodys))
        unmet = [row for row in sorted(nobodys, key=lambda row: users.index(row[0])) if int(row[0][1:]) >= 40]
        rows += [f"{user}\tNone {cents}" for user, cents in unmet]
    return rows


@pytest.mark.parametrize("how", ["inner", "left", "right", "outer"])
def test_each_strategy_gives_the_pairs_of_nested_loops(tmp_path: Path, how: str) -> None:
    for strategy in ("merge", "hash"):
        result = run(tmp_path, joined_jobs.of_keyspaces(strategy, how))
        assert Counter(lines_of(result)) == Counter(nested_loops(how)), strategy
        assert result.records["reduce_in"] == 240
    for strategy in ("copartitioned", "auto"):
        result = run(tmp_path, joined_jobs.of_keyspaces(strategy, how))
        assert lines_of(result) == nested_loops(how), strategy
        assert (result.records["map_in"], result.records["reduce_in"]) == (240, 0)
        assert len(result.parts) == 1


def test_a_map_may_give_the_tag_or_what_has_it_and_nothing_else(tmp_path: Path) -> None:
    result = run(tmp_path, joined_jobs.with_maps("copartitioned"))
    rows = [json.loads(line) for line in lines_of(result)]
    assert [(row["key"], *row["value"]) for row in rows[:2]] == [("u0", "name 0", 0), ("u0", "name 0", 60)]
    whole = joined_jobs.of_keyspaces("copartitioned", on="key")
    assert lines_of(run(tmp_path, whole, orders=[(b"{u7}", [b"5"])])) == ["{u7}\tname 7 5"]
    for definition, users in (
        (joined_jobs.with_maps("copartitioned", elsewhere), USERS),
        (joined_jobs.with_maps("copartitioned"), [(b"u7", [b"x"])]),
        (whole, [(b"u7", [b"x"])]),
    ):
        with pytest.raises(JobFailed, match="strategy='hash' joins by any key") as failed:
            run(tmp_path, definition, users)
        assert failed.value.detail["cause"] == "UserError"
        assert run(tmp_path, joined_jobs.with_maps("hash", elsewhere), users)


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_a_copartitioned_join_writes_tables_as_a_join_by_hash_does(tmp_path: Path, how: Any) -> None:
    found: dict[str, Any] = {}
    for strategy in ("hash", "copartitioned"):
        definition = joined_jobs.of_keyspaces(strategy, how)
        rows = run(tmp_path, replace(definition, output=FileOutput("csv", columns=("user", "row"))))
        read = [list(csv.reader(Path(part).read_text().splitlines())) for part in rows.parts]
        assert all(head == ["user", "row"] for head, *_ in read)
        tables = run(tmp_path, replace(definition, output=FileOutput("parquet", columns=("user", "row"))))
        parquet = [list(row.values()) for part in tables.parts for row in pq.read_table(part).to_pylist()]
        assert sorted(parquet) == sorted(row for _, *rest in read for row in rest)
        found[strategy] = sorted(parquet)
    assert found["hash"] == found["copartitioned"] == sorted(line.split("\t") for line in nested_loops(how))


def elsewhere(key: str, cents: str) -> Iterator[tuple[str, int]]:
    yield "u7", int(cents)


def test_a_key_without_a_tag_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="the key 'plain' of a keyspace has no hash tag"):
        run(tmp_path, joined_jobs.of_keyspaces("auto"), [(b"plain", [b"x"])])


def test_empty_keyspaces_are_joined(tmp_path: Path) -> None:
    assert lines_of(run(tmp_path, joined_jobs.of_keyspaces("auto", "outer"), [], [])) == []
    assert len(lines_of(run(tmp_path, joined_jobs.of_keyspaces("auto", "outer"), orders=[]))) == 40


def test_files_are_joined_with_a_keyspace(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text("user,page\nu3,a\nu3,b\nu99,c\n")
    visits = Source("visits", input=FileInput("csv"))
    for strategy in ("merge", "hash", "auto"):
        definition = join(
            visits, joined_jobs.USERS, on=("user", "{tag}"), how="left", strategy=strategy, result=seen
        )
        result = run_local(
            definition, {"visits": f"{tmp_path}/visits.csv"}, f"{tmp_path}/out", records={"users": USERS},
            overwrite=True,
        )  # fmt: skip
        assert sorted(lines_of(result)) == ["u3\ta name 3", "u3\tb name 3", "u99\tc None"]


def seen(user: str, row: dict[str, str], name: str | None) -> Iterator[tuple[str, str]]:
    yield user, f"{row['page']} {name}"


def number_of(offset: int, line: str) -> Iterator[tuple[int, str]]:
    yield offset, line


def keyed(key: str, value: str) -> Iterator[tuple[int, str]]:
    yield len(key), value


@pytest.mark.parametrize(
    ("sources", "arguments", "told"),
    [
        (
            (joined_jobs.USERS, Source("b", input=FileInput("csv"))),
            {"on": ("{tag}", "x"), "strategy": "copartitioned"},
            "joins two keyspaces of the cluster, and source b reads files as 'csv'",
        ),
        (
            (Source("a", keyed, input=KvInput()), Source("b", keyed, input=KvInput())),
            {"strategy": "copartitioned"},
            "gives a key of type int",
        ),
        (
            (joined_jobs.USERS, joined_jobs.ORDERS),
            {"on": "name"},
            "joined on 'key' or '{tag}', not on 'name'",
        ),
        ((joined_jobs.USERS, joined_jobs.ORDERS), {}, "has no map, and the join no on="),
        (
            (Source("a", number_of), Source("b", keyed, input=KvInput())),
            {"how": "left", "strategy": "broadcast"},
            "the side that may go there is a keyspace",
        ),
    ],
)
def test_joins_of_keyspaces_that_cannot_be_are_refused(
    sources: Any, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told.replace("{", r"\{")):
        join(*sources, **arguments)


def test_records_are_for_the_keyspaces_of_a_join(tmp_path: Path) -> None:
    definition = joined_jobs.of_keyspaces("auto")
    with pytest.raises(InvalidArgument, match="no records for the keyspace orders"):
        run_local(definition, output=f"{tmp_path}/out", records={"users": USERS})
    with pytest.raises(InvalidArgument, match="the job reads users, orders"):
        run_local(definition, output=f"{tmp_path}/out", records={"users": USERS, "x": []})


def test_a_join_by_tags_that_sets_bad_records_aside_has_reduces(tmp_path: Path) -> None:
    records = {"users": USERS, "orders": ORDERS[:3]}
    auto = joined_jobs.of_keyspaces("auto")
    result = run_local(auto, output=f"{tmp_path}/out", records=records, on_bad_record="quarantine:1")
    assert (result.records["bad"], len(result.parts), len(lines_of(result))) == (0, 4, 3)
    with pytest.raises(InvalidArgument, match="no task gathers the records"):
        run_local(
            joined_jobs.of_keyspaces("copartitioned"), output=f"{tmp_path}/more", records=records,
            on_bad_record="quarantine:1",
        )  # fmt: skip


def spec_of(strategy: str) -> JobSpec:
    inputs = {"users": ("kv:users",), "orders": ("kv:orders",)}
    return JobSpec.of(
        joined_jobs.of_keyspaces(strategy), job="j", module="m", name="n", bundle_sha256="", inputs=inputs,
        output="/out",
    )  # fmt: skip


def test_a_description_of_such_a_join_is_of_a_version_that_former_releases_refuse() -> None:
    for strategy, reducers in (("auto", 0), ("hash", 4), ("merge", 4)):
        spec = spec_of(strategy)
        assert JobSpec.decode(spec.encode()) == spec
        assert (spec.encode()[1], spec.reducers, spec.levels) == (9, reducers, ("quorum", "quorum"))
        assert [str(each) for each in spec.keyspaces] == ["kv:users", "kv:orders"]
    with pytest.raises(ProtocolMismatch, match="other fields than version 7 has"):
        JobSpec.decode(b"\x92\x07" + spec.encode()[2:])
    plain = JobSpec(
        job="j", module="m", name="n", bundle_sha256="", inputs=("/in",), output="/out", input_format="lines",
        output_format="tsv", reducers=1,
    )  # fmt: skip
    assert plain.encode()[1] == 7, "former releases run what they know"


def test_a_split_of_both_keyspaces_travels() -> None:
    span, beside = PartitionSpan(3, 5, 100, (1, 2), "s.1.1", 99), PartitionSpan(3, 5, 40, (1, 3))
    split = Split(2, (), 7, (), 0, span, beside)
    assert Split.from_wire(split.to_wire()) == split
    assert split.size == 140


def by_name(user: str, name: str) -> Iterator[tuple[str, int]]:
    yield name.partition(" ")[0], 1


def with_keyspace(fed: Source) -> Any:
    return join(fed, Source("users", map=joined_jobs.named_user, input=KvInput()))


def doubled(key: str, count: int) -> Iterator[tuple[str, int]]:
    yield key, 2 * count


def test_a_pipeline_begins_with_a_join_of_keyspaces(tmp_path: Path) -> None:
    counted = job(map=by_name, reduce=Sum(), input=FileInput("records"))
    chain = pipeline(joined_jobs.of_keyspaces("auto", "right"), counted)
    assert lines_of(run(tmp_path, chain)) == ["None\t60", "name\t140"]
    inputs = {"users": ("kv:users",), "orders": ("kv:orders",)}
    spec = spec_of_any(chain, job="j", module="m", name="n", bundle_sha256="", inputs=inputs, output="/out")
    assert JobSpec.decode(spec.encode()) == spec and spec.levels
    first = stage_of(spec, START)
    assert (first.reducers, first.join_by, first.keyspaces) == (0, "copartitioned", spec.keyspaces)
    with pytest.raises(InvalidArgument, match="which the first job of a pipeline alone can read"):
        fed = Source("fed", doubled, input=FileInput("records"))
        pipeline(counted, with_keyspace(fed))


def test_a_chain_with_a_join_by_hash_is_refused_whole_by_former_releases() -> None:
    first = job(map=number_of, output=FileOutput("records"))
    second = join(
        Source("fed", swapped, input=FileInput("records")), Source("others", number_of), strategy="hash"
    )
    spec = spec_of_any(
        pipeline(first, second), job="j", module="m", name="n", bundle_sha256="",
        inputs={"input": ("/in",), "others": ("/more",)}, output="/out",
    )  # fmt: skip
    assert (spec.encode()[1], spec.join_by) == (9, "")


def swapped(offset: int, line: str) -> Iterator[tuple[int, str]]:
    yield len(line), line
