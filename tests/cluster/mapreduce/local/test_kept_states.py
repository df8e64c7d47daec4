"""Iterations with update in one process: what they give, what is spread, what is refused."""

from __future__ import annotations

import importlib
import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill import (
    Context,
    FileInput,
    FileOutput,
    Source,
    Sum,
    broken_laws,
    iterate,
    job,
    pipeline,
    run_local,
)
from ringmill.client.jobs.estimate_job import estimate_job
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.chains import chain as chain_module
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of
from ringmill.cluster.mapreduce.api.chains.stages import StagePlace
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.kernel import reduce_kernel
from tests.cluster.mapreduce import chain_jobs, kept_states
from tests.cluster.mapreduce.kept_states import RECORDS, Place, load, step, told

NUMBERS = 150


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    (tmp_path / "in").write_text("".join(f"{number}\n" for number in range(NUMBERS)))
    return str(tmp_path / "in")


def found_in(folder: Path) -> dict[int, Any]:
    rows = [json.loads(line) for part in sorted(folder.glob("part-*")) for line in part.open()]
    assert len({row["key"] for row in rows}) == len(rows), "each key once"
    return {row["key"]: (row["value"]["heard"], row["value"]["said"]) for row in rows}


def by_hand(rounds: int, update: Any, most: int = 200, *, folds: bool = False) -> tuple[dict[int, Any], Any]:
    ctx = Context("test", None, {"most": str(most)})  # type: ignore[arg-type]
    states = {number: Place(0, [number]) for number in range(NUMBERS) if number % 3}
    for _ in range(rounds):
        messages: dict[int, list[int]] = {}
        for number in sorted(states):
            for target, value in told(number, states[number], ctx):
                messages.setdefault(target, []).append(value)
        if folds:
            messages = {target: [sum(values)] for target, values in messages.items()}
        after = {}
        for number in sorted({*states, *messages}):
            new = update(number, states.get(number), iter(messages.get(number, ())), ctx)
            if new is not None:
                after[number] = new
        states = after
    return {number: (state.heard, state.said) for number, state in states.items()}, ctx.counters


@pytest.mark.parametrize("processes", [1, 2])
def test_states_are_updated_by_what_their_keys_are_told(tmp_path: Path, numbers: str, processes: int) -> None:
    result = run_local(kept_states.rounds, numbers, str(tmp_path / "out"), processes=processes)
    states, counters = by_hand(4, kept_states.heard)
    assert found_in(tmp_path / "out") == states
    assert all(counters[name] > 0 for name in ("silent", "new", "gone")), "each case was there"
    assert {name: result.counters[name] for name in counters} == dict(counters)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out"], "nothing is left beside it"


def test_messages_that_do_not_fit_into_memory_give_the_same(
    tmp_path: Path, numbers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chain in ("rounds", "rounds_in_place", "of_floats"):
        run_local(getattr(kept_states, chain), numbers, str(tmp_path / chain))
    monkeypatch.setattr(reduce_kernel, "_fits", lambda slices, memory_bytes: False)
    for chain in ("rounds", "rounds_in_place", "of_floats"):
        run_local(getattr(kept_states, chain), numbers, str(tmp_path / f"{chain}-2"))
        for part in sorted((tmp_path / chain).iterdir()):
            assert part.read_bytes() == (tmp_path / f"{chain}-2" / part.name).read_bytes()


def test_behind_a_fold_there_is_one_value_or_none(tmp_path: Path, numbers: str) -> None:
    result = run_local(kept_states.rounds_in_place, numbers, str(tmp_path / "out"))
    states, counters = by_hand(4, kept_states.totalled, folds=True)
    assert found_in(tmp_path / "out") == states
    assert result.counters["silent"] == counters["silent"] > 0


def test_sums_of_float_do_not_depend_on_the_cuts(tmp_path: Path, numbers: str) -> None:
    outputs = []
    for split_mib in (0, 1):
        chain = pipeline(load, iterate(replace(kept_states.floats, split_mib=split_mib), max=2))
        run_local(chain, numbers, str(tmp_path / f"out-{split_mib}"))
        outputs.append(found_in(tmp_path / f"out-{split_mib}"))
    assert outputs[0] == outputs[1]


def test_the_rounds_end_when_a_function_says_so_and_another_job_may_follow(
    tmp_path: Path, numbers: str
) -> None:
    result = run_local(kept_states.until_asked, numbers, str(tmp_path / "out"))
    assert found_in(tmp_path / "out") == by_hand(3, kept_states.heard)[0]
    followed = pipeline(load, iterate(step, max=3), job(map=heard_of, input=RECORDS, reducers=1))
    run_local(followed, numbers, str(tmp_path / "more"))
    rows = [line.split("\t") for line in (tmp_path / "more" / "part-00000").open()]
    assert {int(number): int(heard) for number, heard in rows} == {
        number: heard for number, (heard, _) in by_hand(3, kept_states.heard)[0].items()
    }
    assert result.records["map_in"] > 0


def heard_of(number: int, place: Place) -> Iterator[tuple[int, int]]:
    yield number, place.heard


def test_states_are_spread_once_unless_they_lie_right_already() -> None:
    assert len(pipeline(load, iterate(step, max=2)).links) == 4, "load, spread, rounds, written"
    assert len(pipeline(load, iterate(kept_states.summed, max=2)).links) == 3, (
        "as many parts by the same rule"
    )
    assert len(pipeline(iterate(step, max=2)).links) == 3, "the input may lie in any order"
    twice = pipeline(load, iterate(step, max=2), iterate(step, max=1))
    assert len(twice.links) == 5, "update leaves each key where it is"
    reduced = job(map=kept_states.place_of, reduce=first_place, reducers=3)
    assert len(pipeline(reduced, iterate(step, max=2)).links) == 4, "a reduce may give other keys"


def first_place(number: int, places: Iterable[Place]) -> Iterator[tuple[int, Place]]:
    yield from ((number + 1, place) for place in places)


@pytest.mark.parametrize("is_spread", [True, False])
def test_states_that_are_not_spread_are_lost_to_their_messages(
    tmp_path: Path, numbers: str, monkeypatch: pytest.MonkeyPatch, is_spread: bool
) -> None:
    """Why a stage of its own goes before: the same chain without it gives something else."""
    reduced = job(map=place_before, reduce=first_place, reducers=3)
    if not is_spread:
        monkeypatch.setattr(chain_module, "is_spread_for", lambda before, step: True)
    run_local(pipeline(reduced, iterate(step, max=4)), numbers, str(tmp_path / "out"))
    rows = [json.loads(line) for part in sorted((tmp_path / "out").glob("part-*")) for line in part.open()]
    keys = [row["key"] for row in rows]
    assert (len(keys) == len(set(keys))) is is_spread
    if is_spread:
        assert found_in(tmp_path / "out") == by_hand(4, kept_states.heard)[0]


def place_before(offset: int, line: str) -> Iterator[tuple[int, Place]]:
    yield from ((number - 1, place) for number, place in kept_states.place_of(offset, line))


def test_an_iteration_may_begin_with_states_that_a_job_has_left(tmp_path: Path, numbers: str) -> None:
    stored = replace(load, output=FileOutput("records"))
    run_local(stored, numbers, str(tmp_path / "stored"))
    run_local(pipeline(iterate(step, max=4)), str(tmp_path / "stored"), str(tmp_path / "out"))
    assert found_in(tmp_path / "out") == by_hand(4, kept_states.heard)[0]


def doubled(offset: int, line: str) -> Iterator[tuple[int, Place]]:
    yield int(line) // 2, Place(0, [])


def test_a_key_with_two_states_fails_the_job(tmp_path: Path, numbers: str) -> None:
    chain = pipeline(job(map=doubled, reducers=2), iterate(step, max=2))
    with pytest.raises(JobFailed, match=r"the key \d+ has two states: the job before an iteration"):
        run_local(chain, numbers, str(tmp_path / "out"))


def test_a_round_that_leaves_nothing_ends_as_any_other(tmp_path: Path, numbers: str) -> None:
    chain = pipeline(
        load, iterate(job(map=told, update=emptied, input=RECORDS, params=kept_states.PARAMS), max=3)
    )
    run_local(chain, numbers, str(tmp_path / "out"))
    assert [each for each in (tmp_path / "out").glob("part-*") if each.read_bytes()] == []


def emptied(number: int, place: Place | None, values: Iterable[int]) -> Place | None:
    return None


def wrongly(number: int, place: Place | None, values: Iterable[int]) -> Place:
    return (number, 3)  # type: ignore[return-value]


def stopping(number: int, place: Place | None, values: Iterable[int]) -> Place:
    raise StopIteration


def test_what_update_does_wrong_is_told(tmp_path: Path, numbers: str) -> None:
    for function, message in (
        (wrongly, "a value of type tuple where the hint says Place"),
        (stopping, "StopIter"),
    ):
        wrong = job(map=told, update=function, input=RECORDS, params=kept_states.PARAMS)
        with pytest.raises(JobFailed, match=message):
            run_local(pipeline(load, iterate(wrong, max=2)), numbers, str(tmp_path / "out"))


def of_three(number: int, values: Iterable[int]) -> Place: ...  # type: ignore[empty-body]
def of_no_state(number: int, place: Place, values: Iterable[int]) -> Place: ...  # type: ignore[empty-body]
def of_text(number: int, place: Place | None, values: Iterable[str]) -> Place: ...  # type: ignore[empty-body]
def to_text(number: int, place: Place | None, values: Iterable[int]) -> str: ...  # type: ignore[empty-body]
def from_text(number: int, place: str | None, values: Iterable[int]) -> Place: ...  # type: ignore[empty-body]
def by_text(number: str, place: Place | None, values: Iterable[int]) -> Place: ...  # type: ignore[empty-body]
def of_lines(offset: int, line: str) -> Iterator[tuple[int, int]]: ...  # type: ignore[empty-body]
def to_words(number: int, place: Place) -> Iterator[tuple[str, int]]: ...  # type: ignore[empty-body]
def with_word(word: str, place: Place | None, values: Iterable[int]) -> Place: ...  # type: ignore[empty-body]
def nothing(number: int, place: None) -> Iterator[tuple[int, int]]: ...  # type: ignore[empty-body]
def of_nothing(number: int, place: None, values: Iterable[int]) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"update": of_three}, r"takes \(number, values\); it must take a key, its state and values"),
        (
            {"update": of_no_state},
            "the state is None for a key that has none yet, and place is declared Place",
        ),
        ({"update": of_text}, "gives a value of type int, update .* takes str"),
        ({"update": by_text}, "gives a key of type int, update .* takes str"),
        ({"update": to_text}, "returns a state of type str, and map .* takes Place"),
        ({"update": from_text}, "takes a state of type str, and map .* takes Place"),
        ({"update": 3}, "update must be a function of a module, not int 3"),
        ({"map": to_words, "update": with_word}, "gives messages to a key of type str, and map .* takes int"),
        ({"map": nothing, "update": of_nothing}, "a state of type None"),
        ({"map": of_lines, "input": None}, "reads 'lines'; beside update it reads keys with their states"),
        ({"reduce": Sum()}, "it leaves no place for reduce"),
        ({"reduce": chain_jobs.ranked}, "it leaves no place for reduce"),
        ({"reducers": 0}, "leaves no place for"),
        ({"order": "total"}, "leaves no place for order='total'"),
    ],
)
def test_a_step_that_does_not_fit_together_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        job(**{"map": told, "update": kept_states.heard, "input": RECORDS, **wrong})


def test_several_inputs_have_no_states() -> None:
    with pytest.raises(InvalidArgument, match="leaves no place for sources"):
        job(sources=[Source("one", told, input=RECORDS)], update=kept_states.heard)


def test_a_job_with_update_runs_in_an_iteration_alone(tmp_path: Path, numbers: str) -> None:
    for run in (
        lambda: run_local(step, numbers, str(tmp_path / "out")),
        lambda: pipeline(load, step),
        lambda: estimate_job(step, numbers, nodes=2),
    ):
        with pytest.raises(InvalidArgument, match="a job with update is a step of an iteration"):
            run()
    assert isinstance(step.input, FileInput)


_BEFORE_THE_EXAMPLE = """
from collections.abc import Iterable, Iterator
from ringmill import Context, FileInput, Sum, iterate, job, pipeline

RECORDS = FileInput("records")

def page_of(offset: int, line: str) -> Iterator[tuple[str, tuple[float, list[str]]]]:
    page, *targets = line.split()
    yield page, (1.0, targets)

load = job(map=page_of, reducers=2)
"""


def test_the_example_of_the_guide_ends_when_no_rank_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[4] / "docs/guide.md").read_text()
    example = guide[guide.index("  Page = tuple[float, list[str]]") :].partition("  ```")[0]
    (tmp_path / "of_the_guide.py").write_text(_BEFORE_THE_EXAMPLE + textwrap.dedent(example))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "in").write_text("a b c\nb c\nc a\nd c\n")
    ranks = importlib.import_module("of_the_guide").ranks
    result = run_local(ranks, str(tmp_path / "in"), str(tmp_path / "out"))
    assert 5 < result.counters["moved"] < 4 * 29, "more than one round, and fewer than there may be"
    found = dict(pair for part in sorted((tmp_path / "out").glob("part-*")) for pair in lines_of(part))
    assert found["c"] == pytest.approx(1.577, abs=0.01)
    assert found["d"] == pytest.approx(0.15)


def lines_of(part: Path) -> Iterator[tuple[str, float]]:
    for line in part.read_text().splitlines():
        page, _, state = line.partition("\t")
        yield page, json.loads(state)[0]


def test_stages_that_pass_states_on_have_the_memory_of_the_step() -> None:
    large = replace(step, task_memory_mib=512)
    links = pipeline(load, iterate(large, max=2)).links
    assert [link.step.task_memory_mib for link in links] == [0, 512, 512, 512]


def test_laws_are_checked_of_updates_too() -> None:
    sample = [(number, Place(number, [])) for number in range(20)]
    assert broken_laws(kept_states.summed, sample) == []
    assert broken_laws(step, sample) == []
    [found] = broken_laws(job(map=told, update=forgetful, input=RECORDS, params=kept_states.PARAMS), sample)[
        :1
    ]
    assert found.startswith("update gave two results")


def passed_on(number: int, said: list[int]) -> Iterator[tuple[int, int]]:
    yield number + 1, number


def in_place(number: int, said: list[int] | None, values: Iterable[int]) -> list[int]:
    said = said or []
    said.extend(values)
    return said[-3:]


def test_an_update_may_change_the_state_that_it_gets() -> None:
    """A state is that of one attempt: each decodes its own."""
    sample = [(n, [n]) for n in range(3)]
    assert broken_laws(job(map=passed_on, update=in_place, input=RECORDS), sample) == []
    assert sample == [(n, [n]) for n in range(3)]


def silent_alone(number: int, said: list[int] | None, values: Iterable[int]) -> list[int]:
    if any(True for _ in values):
        return []
    _calls.append(number)
    return [len(_calls)]


@pytest.mark.parametrize("combine", [None, Sum()])
def test_laws_are_tried_for_a_key_without_messages(combine: Any) -> None:
    silent = job(map=passed_on, combine=combine, update=silent_alone, input=RECORDS)
    findings = broken_laws(silent, [(n, [n]) for n in range(3)])
    assert findings == ["update gave two results for the same values of key 0"]


_calls: list[int] = []


def forgetful(number: int, place: Place | None, values: Iterable[int]) -> Place:
    _calls.append(number)
    return Place(len(_calls), [])


def test_all_descriptions_of_a_chain_with_states_have_the_version_that_says_so() -> None:
    chain = spec_of(
        kept_states.rounds,
        job="j",
        module="m",
        name="rounds",
        bundle_sha256="",
        inputs=("/in",),
        output="/out",
    )
    links = [JobSpec.decode(link.spec, is_link=True) for link in chain.chain]
    assert [link.keeps_states for link in links] == [False, False, True, False]
    versions = [data[1] for data in (chain.encode(), *(link.spec for link in chain.chain))]
    assert versions == [8] * 5, "a node that knows no states refuses all: it cannot import the module"
    assert all(stage_of(chain, StagePlace(at, 0, at)).encode()[1] == 8 for at in range(4)), "an order"
    assert JobSpec.decode(chain.encode()) == chain


def test_states_and_messages_meet_where_a_key_is_of_a_new_type(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"p{number}\n" for number in range(20)))
    given = []
    for each in (kept_states.pages_of_str, kept_states.pages_of_ids, kept_states.pages_to_ids):
        result = run_local(each, str(tmp_path / "in"), str(tmp_path / "out"), overwrite=True)
        given.append([Path(part).read_text() for part in result.parts])
    assert sorted("".join(given[0]).split()[1::2]) == ["11"] * 20
    assert given == [given[0]] * 3
