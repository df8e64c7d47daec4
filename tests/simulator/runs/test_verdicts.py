"""Whatever comes of a run, it has a verdict of its own: named after its cause, and not lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ringmill.node.replica.comparing.comparisons import Comparisons
from ringmill.simulator.__main__ import main
from ringmill.simulator.campaign import many, shrink
from ringmill.simulator.campaign.many import run_seeds
from ringmill.simulator.history import Operation
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import SimulationResult, run_seed
from ringmill.simulator.subjects.objects.sessions import Session
from ringmill.simulator.subjects.objects.subject import ObjectWorkload
from ringmill.simulator.subjects.registers.subject import RegisterWorkload
from ringmill.simulator.subjects.scans.subject import ScanWorkload

CALM = SimulationOptions(nodes=3, faults=(), core=0.0, operations=10, quiet_s=20.0)


def test_a_judge_that_cannot_read_an_answer_makes_the_run_red(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Session._answered

    def nameless(session: Session, *of_answer: Any) -> Operation:
        return replace(answered(session, *of_answer), dot="")

    monkeypatch.setattr(Session, "_answered", nameless)
    (found,) = [each for each in run_seed(1, CALM).violations if each.property == "judge"]
    assert "ValueError" in found.story


def test_who_is_waited_for_is_blamed_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(workload: ScanWorkload) -> None:
        await asyncio.sleep(3600.0)

    monkeypatch.setattr(ScanWorkload, "wait_idle", never)
    for workload in (RegisterWorkload, ScanWorkload):
        monkeypatch.setattr(workload, "act", lambda each: [])
    found = run_seed(1, replace(CALM, subjects=("registers", "scans"))).violations
    assert [each.story for each in found] == ["scans are not at rest long after healing"]


def test_a_run_that_does_not_come_to_rest_says_what_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comparisons, "equal_s_ago", lambda *_: None)
    (found,) = run_seed(1, CALM).violations
    assert found.property == "C2"
    assert found.story.startswith("waits for each pair of owners to be found equal; not up: none; ")
    assert "n1 with n2 (" in found.story


def test_a_timeout_that_a_client_lets_out_is_a_bug_and_ends_the_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    struck: list[float] = []

    async def give_up() -> None:
        await asyncio.sleep(0.5)
        raise TimeoutError("of a client")

    async def strike_late() -> None:
        await asyncio.sleep(3.0)
        struck.append(3.0)

    def act(workload: ObjectWorkload) -> Sequence[Any]:
        return [give_up(), strike_late()]

    monkeypatch.setattr(ObjectWorkload, "act", act)
    found = run_seed(1, CALM).violations
    assert [(each.property, each.story) for each in found] == [("run", "TimeoutError: of a client")]
    assert struck == []


def test_ctrl_c_while_a_run_is_made_shorter_keeps_the_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> SimulationResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(shrink, "run_seed", interrupted)
    words = ["--seed", "1", "--nodes", "3", "--ops", "20", "--faults", "none", "--core", "0"]
    assert main([*words, "--without", "all-siblings-shown"]) == 1
    told = capsys.readouterr()
    assert "shortening was interrupted after 1 runs" in told.err
    assert "C3" in told.out
    assert "replay  ringmill simulate --seed 1 --nodes 3 --ops 20" in told.out


def test_a_bug_of_the_simulator_costs_a_campaign_its_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(seed: int, options: SimulationOptions) -> SimulationResult:
        if seed == 2:
            raise ValueError("a bug")
        return run_seed(seed, options)

    monkeypatch.setattr(many, "run_seed", broken)
    results = list(run_seeds(range(1, 4), replace(CALM, operations=1, quiet_s=120.0), processes=1))
    assert [(each.seed, each.is_ok) for each in results] == [(1, True), (2, False), (3, True)]
    assert "ValueError: a bug" in str(results[1].violations[0])
