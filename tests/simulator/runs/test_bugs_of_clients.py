"""An exception that no client may raise makes its run red, and so does a watch that ends by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.client.routing.directory import Directory
from ringmill.cluster.errors import QuorumNotReached
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.jobs.sessions import JobSession
from ringmill.simulator.subjects.loads.sessions import LoadSession
from ringmill.simulator.subjects.watches.checkers import check_ends
from ringmill.simulator.subjects.watches.sessions import WatchSession


@pytest.mark.parametrize(
    ("subject", "owner", "name", "expected"),
    [
        ("watches", WatchSession, "_note", "C19"),
        ("jobs", JobSession, "_pause_for_a_while", "run"),
        ("loads", LoadSession, "overwrite", "run"),
        ("loads", LoadSession, "meddle", "run"),
    ],
)
def test_a_bug_of_a_client_makes_its_run_red(
    subject: str, owner: Any, name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(owner, name, broken)
    options = SimulationOptions((subject,), nodes=3, faults=(), core=0.0, operations=10)
    found = run_seed(2, options).violations
    assert [each.property for each in found if "a bug" in each.story][:1] == [expected]


def test_a_watch_that_ends_is_reported() -> None:
    cancelled = asyncio.CancelledError()
    assert list(check_ends({"wa0": cancelled, "wa1": cancelled})) == []
    group = ExceptionGroup("a task", [QuorumNotReached("1 of 2")])
    ended = list(check_ends({"wa0": group, "wa1": None, "wa2": cancelled}))
    assert [each.property for each in ended] == ["C19", "C19"]
    assert "1 of 2" in ended[0].story


def test_a_bug_in_the_background_of_a_client_makes_its_run_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is awaited by nobody until the client closes."""

    async def broken(directory: Directory, address: str) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Directory, "_check_claim", broken)
    options = SimulationOptions(nodes=3, faults=(), core=0.0, operations=10)

    async def hear(directory: Directory) -> Directory:
        directory.hear_epoch(directory.asked_epoch + 1, "n1")
        return directory

    monkeypatch.setattr(Directory, "__aenter__", hear)
    found = run_seed(2, options).violations
    assert "bug" in {each.property for each in found if "a bug" in each.story}
