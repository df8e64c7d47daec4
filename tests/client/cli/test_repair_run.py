"""`ringmill repair run` says that owners were compared only where they were asked to, and have answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringmill.client.cli import repair_verbs
from ringmill.client.cli.main import main
from ringmill.cluster.errors import Overloaded, PermissionDenied, RingmillError
from tests.client.one_node import OneNode


@pytest.fixture
def refusing(node: tuple[OneNode, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OneNode, str]]:
    monkeypatch.setattr(repair_verbs, "LOOK_S", 0.05)
    yield node
    node[0].repair_refusals, node[0].is_repair_silent = [], False


def run(address: str, *flags: str) -> int:
    return main(["--endpoints", address, "--timeout", "0.2s", "repair", "run", *flags])


def test_a_token_that_may_not_is_told_and_nothing_is_said_to_be_compared(
    refusing: tuple[OneNode, str], capsys: pytest.CaptureFixture[str]
) -> None:
    refusing[0].repair_refusals = [PermissionDenied("Repair/Run needs the role admin")]
    assert run(refusing[1]) == 1
    shown = capsys.readouterr()
    assert "needs the role admin" in shown.err and "compared" not in shown.err and not shown.out


@pytest.mark.parametrize(("times", "code"), [(1, 0), (9, 8)])
def test_a_busy_node_is_asked_again_until_the_time_is_over(
    refusing: tuple[OneNode, str], capsys: pytest.CaptureFixture[str], times: int, code: int
) -> None:
    refusals: list[RingmillError] = [Overloaded("busy") for _ in range(times)]
    refusing[0].repair_refusals = refusals
    assert main(["--endpoints", refusing[1], "--timeout", "0.2s", "repair", "run"]) == code
    assert "n1 did not answer and may be up" in capsys.readouterr().err


def test_a_node_that_is_up_and_does_not_say_what_it_compared_is_waited_for(
    refusing: tuple[OneNode, str], capsys: pytest.CaptureFixture[str]
) -> None:
    refusing[0].is_repair_silent = True
    assert run(refusing[1]) == 8
    assert "n1 did not answer" in capsys.readouterr().err
    refusing[0].is_repair_silent = False
    assert run(refusing[1], "--partition", "3") == 0
