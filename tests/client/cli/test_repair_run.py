"""`ringmill repair run` says that owners were compared only where they were asked to, and have answered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from ringmill.client.cli import repair_verbs
from ringmill.client.cli.main import main
from ringmill.cluster.errors import (
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from tests.client.one_node import OneNode


class FewTurns:
    """A clock by which the time of the command is over after three turns, however long they take."""

    def __init__(self) -> None:
        self.monotonic = count(0, repair_verbs.RUN_S / 2.5).__next__


@pytest.fixture
def refusing(node: tuple[OneNode, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OneNode, str]]:
    monkeypatch.setattr(repair_verbs, "LOOK_S", 0.05)
    monkeypatch.setattr(repair_verbs, "time", FewTurns())
    yield node
    node[0].repair_refusals, node[0].is_repair_silent = [], False


def run(address: str, *flags: str) -> int:
    return main(["--endpoints", address, "repair", "run", *flags])


def test_a_token_that_may_not_is_reported_and_nothing_is_said_to_be_compared(
    refusing: tuple[OneNode, str], capsys: pytest.CaptureFixture[str]
) -> None:
    refusing[0].repair_refusals = [PermissionDenied("Repair/Run needs the role admin")]
    assert run(refusing[1]) == 1
    shown = capsys.readouterr()
    assert "needs the role admin" in shown.err and "compared" not in shown.err and not shown.out


@pytest.mark.parametrize(("times", "code"), [(1, 0), (9, 8)])
@pytest.mark.parametrize(
    "refusal",
    [
        Overloaded("busy"),
        WrongEpoch("n1 does not own partition 3 in epoch 1"),
        InvalidArgument("n1 does not own partition 3"),  # as the release before says it
    ],
)
def test_a_busy_node_is_asked_again_until_the_time_is_over(
    refusing: tuple[OneNode, str],
    capsys: pytest.CaptureFixture[str],
    refusal: RingmillError,
    times: int,
    code: int,
) -> None:
    refusing[0].repair_refusals = [refusal] * times
    assert run(refusing[1], "--partition", "3") == code
    assert "n1 did not answer and may be up" in capsys.readouterr().err


def test_all_are_asked_again_when_one_goes_by_another_topology() -> None:
    """n4 may own what n3 does not own any more, and was not asked for it."""
    members, busy = {"n1", "n2", "n3", "n4"}, Unavailable("busy")
    assert repair_verbs._due({"n3": WrongEpoch("moved"), "n2": busy}, {"n2"}, members) == {"n1", "n3", "n4"}
    assert repair_verbs._due({"n3": busy, "n2": busy}, {"n2"}, members) == {"n3"}


def test_a_node_that_is_up_and_does_not_say_what_it_compared_is_waited_for(
    refusing: tuple[OneNode, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing[0].is_repair_silent = True
    assert run(refusing[1]) == 8
    assert "n1 did not answer" in capsys.readouterr().err
    refusing[0].is_repair_silent = False
    monkeypatch.setattr(repair_verbs, "time", FewTurns())
    assert run(refusing[1], "--partition", "3") == 0
