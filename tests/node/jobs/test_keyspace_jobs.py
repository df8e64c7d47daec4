"""Jobs that read one keyspace and write another, through coordinators, workers and task processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill import read_output, run_local
from ringmill.cluster.errors import InvalidArgument, from_wire
from ringmill.cluster.ids import DiskId, KeyspaceId, NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.node.jobs.keyspaces.keyspace_plan import keyspace_splits
from tests.node.jobs.conftest import NODES, loaded_trials

LEASE_S = 1.5
N1 = NodeId("n1")
USERS = {f"u{number:02}".encode(): [f"value {number}".encode()] for number in range(40)}


def spec_of(cluster: Any, **changes: Any) -> JobSpec:
    spec = replace(
        cluster.spec(), name="spelling", inputs=("kv:default",), input_format="kv", consistency="quorum",
        output_format="kv", output_keyspace="index", params={}, split_bytes=200,
    )  # fmt: skip
    made: JobSpec = replace(spec, **changes)
    return made


def expected(cluster: Any) -> dict[bytes, list[bytes]]:
    """What the same job makes of the same records in this process."""
    out = f"{cluster.folder}/local"
    run_local(loaded_trials().spelling, output=out, records=USERS.items(), reducers=3)
    return {key: [value] for key, value in read_output(out)}


async def test_each_key_is_read_once_and_each_record_is_put(cluster: Any) -> None:
    cluster.keyspaces.held["default"] = dict(USERS)
    cluster.keyspaces.held["index"] = {b"u0": [b"old"], b"other": [b"stays"]}
    view = await cluster.run(spec_of(cluster))
    assert (view.state, view.error, view.output) == ("SUCCEEDED", None, "kv:index")
    assert cluster.keyspaces.held["index"] == {**expected(cluster), b"other": [b"stays"]}
    assert view.summary.records["map_in"] == len(USERS)
    assert "loading 4 records into the keyspace of the output" in "".join(view.summary.story)
    assert view.summary.stages[0].total > 1, "small splits are asked for"
    assert cluster.leftovers() == []
    attempts = list(await cluster.nodes[N1].coordinator.attempts("job-1"))
    assert {each.is_near for each in attempts if each.stage == "map"} == {True}, "every node owns all keys"
    assert {each.is_near for each in attempts if each.stage == "reduce"} == {None}


async def test_a_keyspace_of_too_many_partitions_times_reducers_is_refused(cluster: Any) -> None:
    class Large:
        """Each of its partitions has three pages, so it is a split of its own."""

        async def find(self, name: str) -> tuple[Any, range]:
            return SimpleNamespace(id=KeyspaceId(0, 0), name=name), range(4096)

        async def read(self, *_: Any) -> AsyncIterator[list[Any]]:
            for _page in range(3):
                yield []

    with pytest.raises(InvalidArgument, match="4096 splits for 500 reducers make 2048000 slices"):
        await keyspace_splits(spec_of(cluster, reducers=500, consistency="snapshot"), cast("Any", Large()))


async def test_a_job_of_a_snapshot_reads_what_was_there_when_it_was_planned(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every map after the first finds other values in the keyspace, which nobody reads."""
    monkeypatch.setattr("ringmill.node.jobs.keyspaces.kept_snapshot._KEEP_EVERY_S", 0.01)
    cluster.keyspaces.held["default"] = dict(USERS)
    held = cluster.keyspaces.held["default"]
    cluster.on_report = lambda report: held.update({key: [b"x" * 100] for key in held})
    view = await cluster.run(spec_of(cluster, consistency="snapshot"))
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert cluster.keyspaces.held["index"] == expected(cluster)
    (name,) = set(cluster.keyspaces.kept)
    assert name.startswith("job-1.")
    await cluster.until(lambda: cluster.keyspaces.released == [name])


async def test_a_job_whose_snapshot_is_lost_fails_and_says_so(cluster: Any) -> None:
    cluster.keyspaces.held["default"] = dict(USERS)
    cluster.on_report = lambda report: cluster.keyspaces.snapshots.clear()
    view = await cluster.run(spec_of(cluster, consistency="snapshot", split_bytes=1))
    assert view.state == "FAILED"
    assert view.error is not None
    error = from_wire(view.error)
    assert (error.detail["cause"], "cannot be read any more" in error.message) == ("InputChanged", True)


async def test_a_job_that_cannot_be_planned_gives_its_snapshot_back(cluster: Any) -> None:
    cluster.keyspaces.held["default"] = dict(USERS)
    spec = spec_of(cluster, consistency="snapshot", output_keyspace="", output=str(cluster.folder))
    with pytest.raises(InvalidArgument, match="exists"):
        await cluster.submit(spec)
    assert cluster.keyspaces.snapshots == {}
    assert len(cluster.keyspaces.released) == 1


async def test_a_prefix_reads_some_keys_and_a_folder_takes_the_records(cluster: Any) -> None:
    cluster.keyspaces.held["default"] = dict(USERS)
    spec = spec_of(cluster, inputs=("kv:default/u1",), output_keyspace="")
    view = await cluster.run(spec)
    assert (view.state, view.output, view.summary.records["map_in"]) == ("SUCCEEDED", spec.output, 10)
    assert [key for key, _ in read_output(spec.output)] == [b"u1"]
    assert cluster.keyspaces.puts == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": ("kv:nowhere",)}, "no keyspace 'nowhere'"),
        ({"output_keyspace": "nowhere"}, "no keyspace 'nowhere'"),
        ({"output_keyspace": "counts"}, "policy counter"),
    ],
)
async def test_a_keyspace_that_does_not_suit_is_refused_by_name(
    cluster: Any, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        await cluster.submit(spec_of(cluster, **changes))
    assert cluster.leftovers() == []


async def test_a_node_is_near_a_split_when_it_owns_most_of_its_partitions(cluster: Any) -> None:
    world = cluster.nodes[NODES[0]].coordinator._world
    span = PartitionSpan(3, 6, 1000, (1, 1))
    assert world.most_owned_by(span) == set(NODES), "three owners, three nodes"
    members = [Member(NodeId(f"n{n}"), DiskId(f"{n:032x}"), f"127.0.0.1:{7100 + n}") for n in range(1, 8)]
    cluster.topology.current = first_topology("wide", members)
    rows = cluster.topology.current.rows
    assert world.most_owned_by(PartitionSpan(5, 5, 1000, (1, 1))) == set(rows[5].nodes)
    three = Counter(node for row in rows[10:13] for node in row.nodes)
    wanted = {node for node, partitions in three.items() if partitions > 1}
    assert world.most_owned_by(PartitionSpan(10, 12, 1000, (1, 1))) == wanted


async def test_a_keyspace_that_is_dropped_meanwhile_fails_the_job(cluster: Any) -> None:
    cluster.keyspaces.held["default"] = dict(USERS)
    cluster.on_report = lambda report: cluster.keyspaces.entries.pop("default", None)
    view = await cluster.run(spec_of(cluster, split_bytes=1))
    assert view.state == "FAILED"
    assert view.error is not None
    error = from_wire(view.error)
    assert error.detail["cause"] == "InputChanged"
    assert cluster.keyspaces.held["index"] == {}


async def test_a_keyspace_that_is_dropped_and_made_anew_gets_no_records_of_the_job(cluster: Any) -> None:
    cluster.keyspaces.held["default"] = dict(USERS)
    former = cluster.keyspaces.entries["index"]
    remade = replace(former, id=KeyspaceId(9, 1))
    cluster.on_report = lambda report: cluster.keyspaces.entries.update(index=remade)
    view = await cluster.run(spec_of(cluster))
    assert view.state == "FAILED"
    assert "another one has its name" in from_wire(view.error).message
    assert cluster.keyspaces.held["index"] == {}


async def test_another_coordinator_goes_on_loading_and_puts_no_record_under_two_names(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client overwrites what was loaded before n1 was lost: that value is not put again as a new write."""
    world = cluster.nodes[N1].coordinator._world
    cluster.nodes[N1].coordinator._world = replace(world, options=replace(world.options, load_window=2))
    cluster.keyspaces.held["default"] = dict(USERS)
    put = cluster.keyspaces.put

    async def lost_in_the_midst(*args: Any, **named: Any) -> None:
        if len(cluster.keyspaces.puts) >= 2 and N1 not in cluster.down:
            cluster.wire.cut.add(N1)
            cluster.down.add(N1)
        await put(*args, **named)

    monkeypatch.setattr(cluster.keyspaces, "put", lost_in_the_midst)
    await cluster.submit(spec_of(cluster))
    others = [cluster.nodes[NodeId(name)].coordinator for name in ("n2", "n3")]
    await cluster.until(lambda: any(each.views() for each in others))
    (coordinator,) = [each for each in others if each.views()]
    async for view in coordinator.watch("job-1"):
        last = view
    assert (last.state, last.error) == ("SUCCEEDED", None)
    assert cluster.keyspaces.held["index"] == expected(cluster)
    names: dict[bytes, set[Any]] = {}
    for key, name, _ in cluster.keyspaces.puts:
        names.setdefault(key, set()).add(name)
    assert all(len(each) == 1 for each in names.values()), names
