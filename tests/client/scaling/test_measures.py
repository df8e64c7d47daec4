"""What the measures of `cluster autoscale` tell of nodes that answer, fail, or are not known yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from ringmill.client.scaling import latency_probes, measures
from ringmill.client.scaling.latency_probes import ENOUGH, LONGEST_S, LatencyProbes, p99_ms, probe_keys
from ringmill.client.scaling.measures import HeldBytes, ProcessorShare
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member


class Door:
    """A node that answers at once, or never."""

    def __init__(self, address: str, asked: list[Any]) -> None:
        self._address = address
        self._asked = asked

    async def call(self, method: Any, request: Any, timeout_s: float) -> Any:
        self._asked.append((self._address, request.key))
        if self._address.endswith("3"):
            raise Unavailable("it is away")
        return None

    async def close(self) -> None:
        self._asked.append((self._address, b"closed"))


def of_three() -> Topology:
    members = [Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"h:{at}") for at in (1, 2, 3)]
    return first_topology(name="c", members=members, partitions=16, n=2)


def test_probes_ask_each_node_for_its_own_keys_and_a_failure_counts_as_the_longest() -> None:
    look: Any = SimpleNamespace(topology=of_three())
    asked: list[Any] = []

    async def told() -> list[Any]:
        probes = LatencyProbes(20.0, lambda at: Door(at, asked))
        found = [await probes.read(look)]
        seen = found[0]
        for _ in range(2000):
            if None not in seen.values():
                break
            await asyncio.sleep(0.005)
            seen = await probes.read(look)
        await probes.aclose()
        return [*found, seen]

    with patch.object(latency_probes, "PROBES_PER_S", 2000):
        before, after = asyncio.run(told())
    assert before == {"n1": None, "n2": None, "n3": None}
    assert after["n3"] == LONGEST_S * 1000 and after["n1"] >= 0
    keys = probe_keys(look.topology)
    for at in (1, 2, 3):
        assert {key for address, key in asked if address == f"h:{at}"} == {*keys[f"n{at}"], b"closed"}
        owned = [look.topology.partition_of(look.topology.keyspaces[0].id, key) for key in keys[f"n{at}"]]
        assert all(f"n{at}" in look.topology.owners(partition) for partition in owned)


def test_a_p99_is_of_at_least_a_hundred_probes() -> None:
    assert p99_ms([0.001] * (ENOUGH - 1)) is None
    slow = p99_ms([0.001] * 98 + [0.5] * 2)
    assert slow is not None and 490 < slow < 510
    fast = p99_ms([0.001] * 99 + [0.5])
    assert fast is not None and fast < 1.1


def test_bytes_of_a_node_that_counts_or_is_silent_are_not_known() -> None:
    nodes = [
        SimpleNamespace(id="n1", bytes=7, is_counting=False),
        SimpleNamespace(id="n2", bytes=7, is_counting=True),
        SimpleNamespace(id="n3", bytes=None, is_counting=False),
    ]
    look: Any = SimpleNamespace(status=SimpleNamespace(nodes=nodes))
    assert asyncio.run(HeldBytes(10.0).read(look)) == {"n1": 7.0, "n2": None, "n3": None}


def test_processor_time_is_of_the_time_between_two_looks_at_one_process() -> None:
    def looking(pid: int | None) -> Any:
        return SimpleNamespace(status=SimpleNamespace(nodes=[SimpleNamespace(id="n1", pid=pid)]))

    async def told() -> list[float | None]:
        share = ProcessorShare(0.7)
        clock = asyncio.get_running_loop()
        found = []
        for at_s, used, pid in ((0, 5.0, 9), (10, 8.0, 9), (20, 1.0, 9), (30, 1.0, 10), (40, 1.0, None)):
            with (
                patch.object(measures, "used_s", lambda _, used=used: used),
                patch.object(clock, "time", lambda at_s=at_s: float(at_s)),
            ):
                found.append((await share.read(looking(pid)))["n1"])
        return found

    assert asyncio.run(told()) == [None, 0.3, None, None, None]
