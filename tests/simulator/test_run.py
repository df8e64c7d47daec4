"""A run is its seed: the same in any process, as short as it can be when it fails, told in words."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.running import run_command
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.node.requests.forward import Forwarder
from ringmill.node.requests.request_values import WriteRequest
from ringmill.simulator.__main__ import main
from ringmill.simulator.campaign.report import replay_command
from ringmill.simulator.campaign.shrink import shortest, shrink
from ringmill.simulator.campaign.timeline import timeline_html
from ringmill.simulator.command_line import Given, simulate_command
from ringmill.simulator.faults.every import GENERAL_KINDS
from ringmill.simulator.faults.splits import ring
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions, usual_options
from ringmill.simulator.run import drawn_faults, run_seed
from ringmill.simulator.subjects.every import SUBJECTS, fault_kinds, subjects_named
from ringmill.simulator.subjects.subject import Subject
from tests.simulator.red_runs import turns_red

SMALL = SimulationOptions(operations=6, keys=2, sessions=2, nodes=3)
ROOT = Path(__file__).parent.parent.parent
SOON_RED = (  # without a safeguard, from a seed on that is near one known to turn red today
    ("sync-before-ack", 27),
    ("w-acks", 4),
    ("siblings", 7),
    ("merge", 8),
    ("tombstones", 1),
    ("honest-receipt", 1),
    ("hints-kept", 2),
    ("all-siblings-shown", 1),
)


def test_one_seed_gives_one_trace_each_time_in_one_process() -> None:
    assert len({run_seed(7, SMALL).trace for _ in range(12)}) == 1
    assert run_seed(8, SMALL).trace != run_seed(7, SMALL).trace


def test_drawn_callbacks_give_another_run_which_is_the_same_each_time() -> None:
    drawn = replace(SMALL, callbacks="drawn")
    first = run_seed(7, drawn)
    assert first.is_ok
    assert run_seed(7, drawn).trace == first.trace != run_seed(7, SMALL).trace


def test_a_run_leaves_nothing_behind() -> None:
    while gc.collect():
        pass  # what other tests have left
    for seed in range(1, 6):
        run_seed(seed, SMALL)
        assert gc.collect() == 0, "of the simulated world"


def test_one_seed_gives_one_trace_in_fresh_processes_under_other_hash_seeds() -> None:
    code = (
        "from ringmill.simulator.options import SimulationOptions;"
        "from ringmill.simulator.run import run_seed;"
        "print([run_seed(seed, SimulationOptions()).trace for seed in (3, 5)])"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4242")
    }
    assert traces == {f"{[run_seed(seed, SimulationOptions()).trace for seed in (3, 5)]}\n"}


@pytest.mark.parametrize("subjects", [("objects",), ("jobs",), ("objects", "jobs")])
def test_every_kind_of_fault_is_drawn(subjects: tuple[str, ...]) -> None:
    options = usual_options(subjects)
    drawn = {fault.kind for seed in range(300) for fault in drawn_faults(seed, options)}
    assert drawn == {kind.name for kind in fault_kinds(subjects_named(subjects))}


def test_general_faults_and_those_of_each_subject_are_met_when_they_run_together() -> None:
    together = {kind.name for kind in fault_kinds(subjects_named(["objects", "jobs"]))}
    assert "task_kill" in together  # which only jobs feel
    assert {kind.name for kind in GENERAL_KINDS} <= together
    assert not any(run_seed(seed, usual_options(("objects", "jobs"))).violations for seed in range(1, 3))


def test_in_a_ring_every_node_sees_a_majority_and_no_two_the_same() -> None:
    order = ["n1", "n2", "n3", "n4", "n5"]
    cut = set(ring(order))
    seen = [frozenset(other for other in order if (one, other) not in cut) for one in order]
    assert {len(each) for each in seen} == {3}
    assert len(set(seen)) == 5


@pytest.mark.parametrize(("name", "first"), SOON_RED)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    assert turns_red(name, first, SimulationOptions(), most=200)


def test_a_client_behind_a_balancer_asks_nodes_that_own_nothing_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward, forwarded = Forwarder.forward, []

    async def noted(forwarder: Forwarder, request: WriteRequest, *rest: Any) -> QuorumReceipt:
        forwarded.append(request.key)
        return await forward(forwarder, request, *rest)

    monkeypatch.setattr(Forwarder, "forward", noted)
    for seed in range(1, 6):
        assert not run_seed(seed, SimulationOptions(faults=())).violations
    assert forwarded


def test_names_of_safeguards_are_unique() -> None:
    names = [ablation.name for subject in SUBJECTS for ablation in subject.ablations]
    assert len(set(names)) == len(names) >= 50


def test_a_failing_run_is_shrunk_and_its_replay_fails_the_same_way() -> None:
    options = SimulationOptions(safeguards_off=("siblings",), operations=40)
    failing = next(run for seed in range(11, 60) if (run := run_seed(seed, options)).violations)
    small = shrink(failing, most_runs=16).result
    assert small.violations[0].property == failing.violations[0].property
    assert len(small.history.operations) < len(failing.history.operations)
    again = run_seed(failing.seed, small.options)
    assert again.trace == small.trace
    replay = replay_command(failing.seed, small.options)
    assert replay.startswith(f"ringmill simulate --seed {failing.seed} ")


def options_of(words: list[str]) -> SimulationOptions:
    """What the command line makes of these words."""
    asked: list[SimulationOptions] = []

    def keep(given: Given, options: SimulationOptions) -> ExitCode:
        asked.append(options)
        return ExitCode.DONE

    assert run_command(simulate_command(keep), "ringmill simulate", words) == 0
    return asked[0]


@pytest.mark.parametrize("nodes", [3, 4, 5])
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_command_of_a_replay_means_the_same_run(subject: Subject, nodes: int) -> None:
    usual = replace(usual_options((subject.name,)), nodes=nodes)
    for options in (
        usual,
        replace(usual, only_faults=(), sessions=2),
        replace(usual, faults=(), callbacks="drawn"),
    ):
        words = replay_command(7, options).split()
        assert options_of(words[2:]) == options, words


def test_delta_debugging_finds_the_two_that_matter() -> None:
    assert shortest(range(100), lambda kept: 7 in kept and 68 in kept) == [7, 68]


def test_the_command_line_tells_verdict_faults_and_replay(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    story, page, history = (str(tmp_path / name) for name in ("story.txt", "page.html", "history.jsonl"))
    arguments = ["--seed", "7", "--ops", "10", "--trace", story, "--html", page, "--history", history]
    assert main([*arguments, "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"seed", "verdict", "property", "trace", "ops", "virtual_s", "faults"} <= document.keys()
    assert (document["seed"], document["verdict"]) == (7, "ok")
    assert "n1 starts run 1" in Path(story).read_text(encoding="utf-8")
    assert "<svg" in Path(page).read_text(encoding="utf-8")
    lines = Path(history).read_text(encoding="utf-8").splitlines()
    assert list(History.from_lines(lines).to_lines()) == lines


def test_a_broken_promise_ends_with_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seeds = (
        seed for seed in range(7, 57) if main(["--seed", f"{seed}", "--without", "siblings", "--no-shrink"])
    )
    seed = next(seeds)
    assert f"replay  ringmill simulate --seed {seed} --without siblings" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", ["--faults earthquake", "--nodes 0", "--ops -1", "--seeds 0", "--seed x", "--trace /none/x",
              "--only-ops 1,x", "--jobs --ops 5", "--jobs --nodes 5",
              "--seeds 2 --html x", "--without nothing", "--replay x"],
)  # fmt: skip
def test_a_bad_argument_ends_with_two_and_three_lines(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(wrong.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "  why", "  try"]


def test_jobs_are_run_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--jobs", "--seed", "2", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["replay"]) == ("ok", "ringmill simulate --jobs --seed 2")
    assert main(["--jobs", "--seed", "2", "--seeds", "3", "--processes", "1"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds, 0 with a violation")


def test_a_timeline_shows_each_operation() -> None:
    result = run_seed(3, SMALL, story=True)
    assert timeline_html(result).count("<rect") == len(result.history.operations)
