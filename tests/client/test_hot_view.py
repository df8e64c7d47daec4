"""What nodes have counted is summed, told with its error, and comes with what to do about it."""

from __future__ import annotations

import json

import pytest

from ringmill.client.administration.hot_view import HotView, combine_heat
from ringmill.client.administration.ring_view import RingView
from ringmill.client.cli.cluster.hot_table import show_hot
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.ids import DiskId, NodeId, PartitionId
from ringmill.cluster.ring.plans.topology_plan import loads_of
from ringmill.cluster.ring.topology import first_topology
from ringmill.cluster.ring.topology_entries import Member
from ringmill.cluster.wire.stubs.membership_pb2 import HeatRates, HotKey, HotResponse

MEMBERS = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"h:{7100 + i}") for i in range(1, 5)]
TOPOLOGY = first_topology("t", MEMBERS, partitions=16)
AT = 3
OWNERS = TOPOLOGY.owners(PartitionId(AT))


def view_of(*answers: HotResponse, sizes: tuple[float, ...] = (0.0,) * 16) -> HotView:
    return combine_heat(RingView(TOPOLOGY, loads_of(TOPOLOGY, held={}), {}, sizes), answers)


def key(name: bytes, error_s: float = 0.0, *, at: int = AT, spread: bool = False, **rates: float) -> HotKey:
    told = HeatRates(**rates)
    return HotKey(keyspace="default", key=name, partition=at, rates=told, error_s=error_s, spread=spread)


def answer(node: str, *keys: HotKey, floor_s: float = 0.0, **of_partition: float) -> HotResponse:
    partitions = {AT: HeatRates(**of_partition)} if of_partition else {}
    return HotResponse(node=node, keys=keys, partitions=partitions, floor_s=floor_s, sampled_every=1)


def test_requests_are_the_sum_and_each_node_has_its_own_work() -> None:
    seen = view_of(
        answer("n1", key(b"k", 3.0, spread=True, reads_s=60, writes_s=2, copy_reads_s=10, bytes_s=720)),
        answer(
            "n2", key(b"k", 1.0, copy_reads_s=60, copy_writes_s=2, bytes_s=620), reads_s=8, copy_reads_s=8
        ),
        answer("n3", floor_s=5.0),
    )
    (hot,) = seen.keys
    assert (hot.reads_s, hot.writes_s, hot.bytes_s, hot.error_s) == (60, 2, 1340, 9)
    assert dict(hot.work_by_node) == {"n1": 72, "n2": 62}
    assert (hot.is_spread, hot.partition, hot.owners) == (True, AT, tuple(OWNERS))
    assert (seen.requests_s, dict(seen.work_by_node), seen.silent) == (
        8,
        {"n1": 0, "n2": 16, "n3": 0},
        ("n4",),
    )


def test_what_may_be_chance_in_the_samples_is_not_a_hot_key() -> None:
    answers = answer("n1", key(b"a", 9.0, reads_s=8), key(b"b", 7.0, reads_s=8), key(b"c", at=99, reads_s=8))
    assert [each.key for each in view_of(answers).keys] == [b"b"]


@pytest.mark.parametrize(
    ("hot", "advice"),
    [
        (key(b"k", reads_s=50, copy_reads_s=50), "nothing to do"),
        (key(b"k", spread=True, reads_s=500, copy_reads_s=500), "its reads are spread over n"),
        (key(b"k", spread=True, reads_s=20, writes_s=90), "every write is stored by all of n"),
        (key(b"k", reads_s=100, bytes_s=100 * 200 * 1024), "each read carries about 200 KiB"),
    ],
)
def test_each_key_has_a_sentence_of_what_to_do(hot: HotKey, advice: str) -> None:
    assert view_of(answer("n1", hot)).keys[0].advice.startswith(advice)


def test_hot_and_large_partitions_are_told_apart_and_those_of_an_idle_cluster_are_neither() -> None:
    sizes = (*[2e6] * 15, 5e8)
    one_key = view_of(answer("n1", key(b"k", reads_s=90), reads_s=100), sizes=sizes)
    hot, large = one_key.partitions
    assert (hot.partition, hot.is_hot, hot.is_large) == (AT, True, False)
    assert hot.advice == "most of its requests are for one key, see above"
    assert (large.partition, large.is_hot, large.is_large, large.stored_bytes) == (
        15,
        False,
        True,
        500_000_000,
    )
    assert "several tags" in large.advice
    many = view_of(answer("n1", key(b"k", reads_s=9), reads_s=100))
    assert f"rebalance --weight {OWNERS[0]}=N" in many.partitions[0].advice
    assert not view_of(answer("n1", reads_s=2), sizes=(*[10.0] * 15, 5000.0)).partitions


def test_a_key_steers_no_terminal_and_a_pipe_gets_rows_alone(capsys: pytest.CaptureFixture[str]) -> None:
    seen = view_of(answer("n1", key(b"\x1b[2J" + b"k" * 100, reads_s=90, bytes_s=900), reads_s=90))
    show_hot(Settings(), seen)
    told = capsys.readouterr()
    (row,) = told.out.splitlines()
    shown, *cells = row.split("\t")
    assert shown == "\\x1b[2J" + "k" * 35 + "…"
    assert cells == ["default", str(AT), "90.0", "0.0", "900", "±0", "n1 90"]
    assert "\x1b" not in told.out + told.err
    assert "without n2, n3, n4, who did not answer" in told.err
    show_hot(Settings(output="json"), seen)
    document = json.loads(capsys.readouterr().out)
    assert document["keys"][0]["key"] == "\x1b[2J" + "k" * 100
    assert document["silent"] == ["n2", "n3", "n4"]
