"""`repair heal` gives up an owner that may be back in a moment only when it is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.administration import healing_view
from ringmill.client.administration.healing_view import HealingView, ask_healing
from ringmill.client.cli import repair_heal
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.ring.topology_entries import GIVEN_UP
from ringmill.cluster.wire.stubs.repair_pb2 import HealResponse, ShortPartition


async def view_of(
    monkeypatch: pytest.MonkeyPatch, short: dict[int, list[str]], *answering: str, given_up: str = ""
) -> HealingView:
    """What n1 of three is said to wait for."""
    members = [
        Member(
            NodeId(name),
            DiskId(f"{GIVEN_UP}{at:016x}" if name == given_up else f"{at:032x}"),
            f"127.0.0.1:{7000 + at}",
        )
        for at, name in enumerate(("n1", "n2", "n3"))
    ]

    async def call(*_: object) -> HealResponse:
        told = [ShortPartition(partition=at, missing=missing) for at, missing in short.items()]
        return HealResponse(node="n1", unfilled=len(short), short=told)

    async def status(*_: object) -> Any:
        nodes = [SimpleNamespace(id=name, pid=7) for name in answering]
        return SimpleNamespace(nodes=nodes, keys_by_node=dict)

    monkeypatch.setattr(healing_view, "cluster_status", status)
    link = SimpleNamespace(call=call)
    directory: Any = SimpleNamespace(topology=first_topology("demo", members), link=lambda _: link)
    return await ask_healing(directory, NodeId("n1"), 1.0)


async def test_two_silent_owners_are_named_before_a_partition_is_filled_from_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = await view_of(monkeypatch, {3: ["n2", "n3"], 5: ["n2"]}, "n1")
    assert (view.alone, view.silent) == ((3,), ("n2", "n3"))
    with pytest.raises(InvalidArgument, match="n2, n3 does not answer, and no other") as error:
        repair_heal._check_named(view, ())
    assert "--without n2 --without n3" in error.value.hint
    repair_heal._check_named(view, ("n2",))


async def test_who_is_given_up_or_waits_itself_need_not_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    view = await view_of(monkeypatch, {3: ["n2", "n3"]}, "n1", "n3", given_up="n2")
    assert (view.alone, view.silent) == ((3,), ())
    repair_heal._check_named(view, ())


async def test_one_owner_that_helps_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    view = await view_of(monkeypatch, {3: ["n2"]}, "n1", "n3")
    assert (view.alone, view.silent) == ((), ("n2",))
    repair_heal._check_named(view, ())
