"""The plan of a node that is added is that of the zone that it comes into."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.administration.ring_view import AsyncRing
from ringmill.client.cli.main import main
from ringmill.client.cli.ring import ring_members
from ringmill.client.cli.ring.asked_change import AskedChange
from ringmill.client.local import local_cluster, tcp_ports
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.moving_rate import MovingRate
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyResponse

ZONES = ("a", "a", "b", "b", "c")


class OneNode:
    """Answers at any address that it is n6 in zone c, or nothing."""

    def __init__(self, *, runs: bool) -> None:
        self._runs = runs

    def link(self, address: str) -> OneNode:
        return self

    async def call(self, method: Any, request: Any, timeout_s: float) -> IdentifyResponse:
        if not self._runs:
            raise Unavailable(f"{method.path}: refused")
        return IdentifyResponse(node="n6", zone="c")


def ring(*, runs: bool) -> AsyncRing:
    members = [
        Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"127.0.0.1:{7100 + at}", zone)
        for at, zone in enumerate(ZONES, start=1)
    ]
    topology = first_topology("some", members)

    async def look(*_: Any) -> tuple[Any, ...]:
        return topology, SimpleNamespace(nodes=[]), [0.0] * topology.partitions, MovingRate()

    made = AsyncRing(SimpleNamespace(directory=OneNode(runs=runs), timeout_s=1.0))  # type: ignore[arg-type]
    made._ask_cluster = look  # type: ignore[method-assign, assignment]
    return made


async def test_a_node_that_runs_is_planned_in_the_zone_that_it_tells() -> None:
    add = {"n6": "127.0.0.1:7106"}
    in_c = await ring(runs=False).plan(add=add, zones={"n6": "c"})
    elsewhere = await ring(runs=False).plan(add=add)
    assert elsewhere.moves != in_c.moves
    assert await ring(runs=True).plan(add=add) == in_c
    assert await ring(runs=True).plan(add=add, zones={"n6": "default"}) == elsewhere, (
        "a zone that is given counts"
    )
    stranger = await ring(runs=True).plan(add={"n7": "127.0.0.1:7106"})
    assert stranger.members[-1].zone == "default", "that is another node"


@pytest.mark.parametrize(
    ("line", "zones"),
    [("--zone c", {"n6": "c"}), ("", None), ("n7 --at 127.0.0.1:9000 --zone d", {"n7": "d"})],
)
def test_the_zone_that_is_typed_is_planned(
    line: str, zones: dict[str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = tuple(
        LocalNode(f"n{at}", f"127.0.0.1:{7100 + at}", zone) for at, zone in enumerate(ZONES, start=1)
    )
    monkeypatch.setattr(
        local_cluster, "required_cluster", lambda _: LocalCluster("c", str(tmp_path), 3, 256, nodes)
    )
    monkeypatch.setattr(tcp_ports, "is_free", lambda port: True)
    asked: list[AskedChange] = []

    def agreed(_: Any, change: AskedChange) -> bool:
        asked.append(change)
        return False

    monkeypatch.setattr(ring_members, "agreed", agreed)
    main(["cluster", "add", *line.split()])
    (change,) = asked
    assert change.changes.get("zones") == zones
