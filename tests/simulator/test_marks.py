"""Marks in the product's code: each is in the catalogue of one subject, and a campaign counts them."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.running import run_command
from ringmill.cluster.sometimes import heard_by, sometimes
from ringmill.simulator import __main__ as simulate
from ringmill.simulator.__main__ import main
from ringmill.simulator.campaign.many import SEEDS_FOR_ALL_MARKS, Summary, has_to_meet_all
from ringmill.simulator.command_line import Given, simulate_command
from ringmill.simulator.options import SimulationOptions, usual_options
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.every import SUBJECTS

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("cluster", "node", "client")


def marks_in_code() -> Iterator[str]:
    """The one literal of each call of `sometimes`."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id == "sometimes"
                ):
                    (given,) = node.args
                    assert isinstance(given, ast.Constant), f"{path}:{node.lineno} marks no literal"
                    yield str(given.value)


def test_every_mark_is_in_the_catalogue_of_one_subject_and_in_the_code_once() -> None:
    in_code = Counter(marks_in_code())
    catalogued = Counter(mark for subject in SUBJECTS for mark in subject.marks)
    assert in_code == catalogued
    assert set(in_code.values()) == {1}


def test_nobody_hears_a_mark_unless_somebody_listens() -> None:
    heard: list[str] = []
    sometimes("nobody listens")
    with heard_by(heard.append):
        sometimes("somebody listens")
    sometimes("nobody listens any more")
    assert heard == ["somebody listens"]


def test_a_campaign_names_the_marks_that_no_run_has_met() -> None:
    calm = run_seed(1, SimulationOptions(faults=(), operations=10))
    strict, lenient = Summary(needs_all_marks=True), Summary()
    for summary in (strict, lenient):
        summary.add(calm)
        assert "a suspect is declared down" in summary.never_met()
        assert summary.document()["marks"]["a suspect is declared down"] == 0
    assert (strict.is_ok, strict.verdict) == (False, "marks never met")
    assert "a suspect is declared down" in strict.text()
    assert lenient.is_ok
    assert "a suspect is declared down" not in lenient.text()


@pytest.mark.parametrize("subjects", [("objects",), ("jobs",), ("objects", "jobs")])
def test_a_long_campaign_of_usual_runs_has_to_meet_every_mark(subjects: tuple[str, ...]) -> None:
    usual = usual_options(subjects)
    assert has_to_meet_all(SEEDS_FOR_ALL_MARKS, usual)
    assert not has_to_meet_all(SEEDS_FOR_ALL_MARKS - 1, usual)
    for narrowed in ({"faults": ("crash",)}, {"mix": ("weak",)}, {"operations": 5}, {"w": 1}, {"nodes": 4}):
        assert not has_to_meet_all(SEEDS_FOR_ALL_MARKS, replace(usual, **narrowed))


def asked_for(words: list[str]) -> SimulationOptions:
    """What the command line makes of these words."""
    asked: list[SimulationOptions] = []

    def keep(given: Given, options: SimulationOptions) -> ExitCode:
        asked.append(options)
        return ExitCode.DONE

    assert run_command(simulate_command(keep), "ringmill simulate", words) == 0
    return asked[0]


@pytest.mark.parametrize("more", [[], ["--ops", "300"], ["--nodes", "5"]], ids=str)
def test_a_long_campaign_of_the_command_line_has_to_meet_every_mark(more: list[str]) -> None:
    for subject in SUBJECTS:
        options = asked_for(["--subjects", subject.name, *more])
        assert has_to_meet_all(SEEDS_FOR_ALL_MARKS, options), subject.name


def test_a_long_campaign_is_red_by_itself_when_a_mark_was_never_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = run_seed(1, SimulationOptions(faults=(), operations=10))
    monkeypatch.setattr(simulate, "run_seeds", lambda seeds, options, processes: iter([calm]))
    long = ["--seeds", str(SEEDS_FOR_ALL_MARKS)]
    assert main(long) == 1
    assert "never met: " in capsys.readouterr().out
    assert main([*long, "--faults", "crash"]) == 0
    assert "never met: " not in capsys.readouterr().out


def test_a_mark_that_was_never_met_fails_a_campaign_that_asks_for_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ["--seeds", "2", "--ops", "5", "--faults", "none", "--processes", "1"]
    assert main(few) == 0
    assert main([*few, "--marks"]) == 1
    assert "never met" in capsys.readouterr().out
