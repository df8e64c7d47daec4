"""`repair heal` gives up an owner that may be back in a moment only when it is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.administration import healing_view
from ringmill.client.administration.healing_view import HealingView, ask_healing
from ringmill.client.cli import repair_heal
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.ring.topology_entries import GIVEN_UP
from ringmill.cluster.wire.stubs.repair_pb2 import HealResponse, ShortPartition


async def view_of(
    monkeypatch: pytest.MonkeyPatch,
    short: dict[int, list[str]],
    *answering: str,
    given_up: str = "",
    others: tuple[int, ...] | None = None,
) -> HealingView:
    """What n1 of three is said to wait for.  `others` are the partitions that the other members wait with;
    the same if not given."""
    members = [
        Member(
            NodeId(name),
            DiskId(f"{GIVEN_UP}{at:016x}" if name == given_up else f"{at:032x}"),
            f"127.0.0.1:{7000 + at}",
        )
        for at, name in enumerate(("n1", "n2", "n3"))
    ]

    def link(address: str) -> Any:
        async def call(*_: object) -> HealResponse:
            waiting = short if others is None or address == members[0].address else {at: [] for at in others}
            told = [ShortPartition(partition=at, missing=missing) for at, missing in waiting.items()]
            return HealResponse(node="n1", unfilled=len(short), short=told)

        return SimpleNamespace(call=call)

    async def status(*_: object) -> Any:
        nodes = [SimpleNamespace(id=name, pid=7) for name in answering]
        return SimpleNamespace(nodes=nodes, keys_by_node=dict)

    monkeypatch.setattr(healing_view, "cluster_status", status)
    directory: Any = SimpleNamespace(topology=first_topology("demo", members), link=link)
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


async def test_whoever_is_given_up_or_waits_itself_need_not_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    view = await view_of(monkeypatch, {3: ["n2", "n3"]}, "n1", "n3", given_up="n2")
    assert (view.alone, view.silent) == ((3,), ())
    repair_heal._check_named(view, ())


async def test_one_owner_that_helps_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    view = await view_of(monkeypatch, {3: ["n2"]}, "n1", "n3")
    assert (view.alone, view.silent) == ((), ("n2",))
    repair_heal._check_named(view, ())


async def test_an_owner_that_answers_and_does_not_wait_itself_is_to_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link is broken, or its start is not confirmed yet; it has lost something of another partition."""
    view = await view_of(monkeypatch, {3: ["n2", "n3"]}, "n1", "n3", given_up="n2", others=(5,))
    assert (view.alone, view.silent, view.in_doubt) == ((3,), (), ("n3",))
    with pytest.raises(InvalidArgument, match="n1 does not reach n3, or not yet, and no other"):
        repair_heal._check_named(view, ())
    repair_heal._check_named(view, ("n3",))


async def test_the_hint_names_all_that_would_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """n1 and n2 have lost the same, and n3 is gone: without n3 alone n1 waits for n2."""
    view = await view_of(monkeypatch, {3: ["n2", "n3"]}, "n1", "n2")
    assert (view.silent, view.in_doubt) == (("n3",), ())
    with pytest.raises(InvalidArgument, match="n3 does not answer") as error:
        repair_heal._check_named(view, ())
    assert "--without n2 --without n3" in error.value.hint


@pytest.mark.parametrize("names", [(), ("n2",)])
async def test_a_name_is_given_again_for_what_was_not_tried_when_it_was_given(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """A word counts for what waits when it is given, and who typed a name means all."""
    first, more = (HealingView("n1", 2, dict.fromkeys(range(to), ("n2", "n3")), 1) for to in (1, 2))
    views, given = [first, more, more, HealingView("n1", 0, {}, 0)], list[tuple[str, ...]]()

    class Members:
        async def healing(self, node: str) -> HealingView:
            return views.pop(0)

        async def heal_without(self, node: str, owners: tuple[str, ...]) -> HealingView:
            given.append((*owners,))
            return views.pop(0)

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[Any]:
        yield SimpleNamespace(members=Members())

    monkeypatch.setattr(repair_heal, "open_client", opened)
    monkeypatch.setattr(repair_heal, "LOOK_S", 0.0)
    settings: Any = SimpleNamespace(timeout=5.0)
    assert not (await repair_heal._heal(settings, "n1", first, names)).unfilled
    assert given == ([("n2",), ("n2",)] if names else [("n2", "n3")])
