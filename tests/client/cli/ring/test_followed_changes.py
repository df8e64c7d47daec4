"""A change of the members that was decided, whose moves are followed through gaps, or not to their end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring import asked_change, ring_moves
from ringmill.client.cli.ring.asked_change import AskedChange, carry_out, take_away
from ringmill.cluster.errors import Unavailable

MOVING = MovesView(
    epoch=7, left=1, joint=0, is_paused=False, joining=(), leaving={}, held_back={}, read_bytes={}, silent=()
)


class Members:
    """Answers as told, each other time with an error."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self._asked = 0

    async def moves(self) -> MovesView:
        self._asked += 1
        if self._asked % 2 or not self.answers:
            raise Unavailable("nobody answers")
        self.answers -= 1
        return MOVING if self.answers else MovesView(**{**_fields(MOVING), "left": 0})

    async def resume_moves(self) -> None:
        raise Unavailable("nobody answers")


def _fields(view: MovesView) -> Mapping[str, Any]:
    return {name: getattr(view, name) for name in view.__dataclass_fields__}


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> Iterator[Members]:
    one = Members(60)

    @asynccontextmanager
    async def open_client(_: Settings) -> Any:
        yield SimpleNamespace(members=one)

    async def change(*_: object) -> tuple[Any, Mapping[str, int]]:
        return SimpleNamespace(epoch=7, changed=True), {}

    monkeypatch.setattr(ring_moves, "_LOOK_S", 0)
    monkeypatch.setattr(ring_moves, "open_client", open_client)
    monkeypatch.setattr(asked_change, "open_client", open_client)
    monkeypatch.setattr(asked_change, "_change", change)
    yield one


def test_moves_with_many_short_gaps_are_followed_to_their_end(members: Members) -> None:
    with patch.object(asked_change, "_check_made"):
        carry_out(Settings(), AskedChange("n3", "remove n3", {"remove": ["n3"]}))
    assert members.answers == 0


def test_a_decided_change_counts_as_made_though_it_is_not_followed_to_its_end(
    members: Members,
) -> None:
    members.answers = 0
    with pytest.raises(Unavailable) as stopped:
        carry_out(Settings(), AskedChange("n3", "remove n3", {"remove": ["n3"]}))
    assert stopped.value.outcome == "unknown"
    assert stopped.value.detail["changed"] == "decided in epoch 7; partitions move on"
    with pytest.raises(Unavailable) as stopped:
        take_away(Settings(), "n3")
    assert stopped.value.detail["changed"] == "n3 has left; its process was not stopped"
