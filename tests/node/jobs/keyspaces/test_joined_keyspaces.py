"""Joins of keyspaces through coordinators, workers and task processes: the pairs of one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ringmill import run_local
from ringmill.cluster.errors import InvalidArgument, from_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.splits import check_slices
from ringmill.cluster.ring.hashing import partition_of, position
from ringmill.node.jobs.keyspaces.keyspace_plan import keyspace_splits
from tests.node.held_keyspaces import PARTITIONS, HeldKeyspaces
from tests.node.jobs.conftest import loaded_trials

USERS = {b"{u%d}" % number: [b"name %d" % number] for number in range(40)}
ORDERS = {b"{u%d}/%d" % (number % 50, number): [b"%d" % number] for number in range(120)}


@pytest.fixture
def keyspaces(cluster: Any) -> HeldKeyspaces:
    held = HeldKeyspaces(users="siblings", orders="siblings")
    held.held |= {"users": dict(USERS), "orders": dict(ORDERS)}
    kept: HeldKeyspaces = cluster.keyspaces
    kept.entries, kept.held, kept.page_keys = held.entries, held.held, 20
    return kept


def spec_of(cluster: Any, name: str, inputs: Mapping[str, tuple[str, ...]] | None = None) -> JobSpec:
    given = inputs or {"users": ("kv:users",), "orders": ("kv:orders",)}
    return JobSpec.of(
        getattr(loaded_trials(), name), job="job-1", module="trials", name=name, bundle_sha256=cluster.bundle,
        inputs=given, output=f"{cluster.folder}/out",
    )  # fmt: skip


def scanned(keyspaces: HeldKeyspaces, name: str) -> list[tuple[bytes, Any]]:
    """In the order of a scan: by partitions, then by keys."""
    id, held = keyspaces.entries[name].id, keyspaces.held[name]
    return sorted(held.items(), key=lambda item: (partition_of(position(id, item[0]), PARTITIONS), item[0]))


def expected(cluster: Any, name: str) -> list[str]:
    """The lines of the same job in this process, on the records of a scan."""
    records = {each: scanned(cluster.keyspaces, each) for each in ("users", "orders")}
    out = f"{cluster.folder}/local"
    result = run_local(getattr(loaded_trials(), name), output=out, records=records, overwrite=True)
    return [line for part in result.parts for line in Path(part).read_text().splitlines()]


def lines_of(cluster: Any) -> list[str]:
    parts = sorted(cluster.parts().items())
    return [line for name, data in parts if name.startswith("part") for line in data.decode().splitlines()]


async def test_two_keyspaces_are_joined_partition_by_partition_without_a_reduce(
    cluster: Any, keyspaces: HeldKeyspaces
) -> None:
    view = await cluster.run(replace(spec_of(cluster, "in_place"), split_bytes=1000))
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert 1 < view.summary.stages[0].total < PARTITIONS, "a task has several partitions, of both"
    assert (view.summary.stages[1].total, view.summary.records["map_in"]) == (0, 160)
    given = expected(cluster, "in_place")
    assert Counter(lines_of(cluster)) == Counter(given)
    assert sum("null" in line for line in given) == 20
    assert cluster.leftovers() == []


async def test_a_join_by_hash_of_keyspaces_has_the_bytes_of_one_process(
    cluster: Any, keyspaces: HeldKeyspaces
) -> None:
    view = await cluster.run(replace(spec_of(cluster, "by_hash"), split_bytes=2000))
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert view.summary.stages[0].total > 2
    assert lines_of(cluster) == expected(cluster, "by_hash")


async def test_an_attempt_that_is_lost_leaves_the_same_bytes(cluster: Any, keyspaces: HeldKeyspaces) -> None:
    """The reports of n2 are lost with n2."""
    spec = replace(spec_of(cluster, "in_place"), split_bytes=1000)
    await cluster.run(spec)
    clean = lines_of(cluster)

    def lost(report: Any) -> None:
        cluster.wire.cut.add(NodeId("n2"))
        cluster.down.add(NodeId("n2"))

    cluster.on_report = lost
    view = await cluster.run(replace(spec, job="job-2", overwrite=True))
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert lines_of(cluster) == clean != []


async def test_files_and_a_keyspace_are_joined(cluster: Any, keyspaces: HeldKeyspaces) -> None:
    visits = cluster.folder / "visits.csv"
    visits.write_text("user,page\n" + "".join(f"u{number % 45},p{number}\n" for number in range(90)))
    spec = spec_of(cluster, "of_both", {"visits": (str(visits),), "users": ("kv:users",)})
    view = await cluster.run(replace(spec, split_bytes=500))
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert view.summary.records["map_in"] == 130
    assert len(lines_of(cluster)) == 80


async def test_a_side_of_a_snapshot_is_read_as_it_was(cluster: Any, keyspaces: HeldKeyspaces) -> None:
    given = expected(cluster, "as_it_was")
    users = keyspaces.held["users"]
    cluster.on_report = lambda report: users.update({key: [b"late"] for key in users})
    view = await cluster.run(replace(spec_of(cluster, "as_it_was"), split_bytes=1000))
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert sorted(lines_of(cluster)) == sorted(given)
    await cluster.until(lambda: len(keyspaces.released) == 1)


async def test_too_many_splits_of_files_and_a_snapshot_leave_neither_a_folder_nor_the_snapshot(
    cluster: Any, keyspaces: HeldKeyspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the snapshot alone are few enough."""
    visits = cluster.folder / "visits.csv"
    visits.write_text("user,page\nu1,p1\n")
    given = spec_of(cluster, "of_both", {"visits": (str(visits),), "users": ("kv:users",)})
    spec = replace(given, reducers=1, split_bytes=1)
    alone = len(await keyspace_splits(spec, keyspaces))
    monkeypatch.setattr(f"{keyspace_splits.__module__}.check_slices", partial(check_slices, most=alone))
    with pytest.raises(InvalidArgument, match=f"{alone + 1} splits for 1 reducers"):
        await cluster.submit(replace(spec, levels=("", "snapshot")))
    assert (keyspaces.snapshots, len(keyspaces.released)) == ({}, 1)
    assert cluster.leftovers() == []


async def test_the_splits_of_both_have_the_same_partitions_and_ids_of_their_own(
    cluster: Any, keyspaces: HeldKeyspaces
) -> None:
    splits = await keyspace_splits(replace(spec_of(cluster, "in_place"), split_bytes=1000), keyspaces)
    spans = [(split.span, split.beside) for split in splits]
    assert all(one and two and one[:2] == two[:2] for one, two in spans)
    assert {(one.keyspace, two.keyspace) for one, two in spans if one and two} == {((1, 1), (1, 2))}
    covered = [n for one, _ in spans if one for n in range(one.first, one.last + 1)]
    assert covered == list(range(PARTITIONS))
    apart = await keyspace_splits(replace(spec_of(cluster, "by_hash"), split_bytes=1000), keyspaces)
    assert [split.index for split in apart] == list(range(len(apart)))
    assert [split.source for split in apart] == sorted(split.source for split in apart)
    assert {split.source for split in apart} == {0, 1}


async def test_a_keyspace_of_a_join_that_is_gone_is_named(cluster: Any, keyspaces: HeldKeyspaces) -> None:
    given = {"users": ("kv:users",), "orders": ("kv:nowhere",)}
    with pytest.raises(InvalidArgument, match="no keyspace 'nowhere'"):
        await cluster.submit(spec_of(cluster, "in_place", given))
    cluster.on_report = lambda report: keyspaces.entries.pop("orders", None)
    view = await cluster.run(replace(spec_of(cluster, "in_place"), split_bytes=1000))
    assert view.state == "FAILED"
    assert view.error is not None
    assert from_wire(view.error).detail["cause"] == "InputChanged"
