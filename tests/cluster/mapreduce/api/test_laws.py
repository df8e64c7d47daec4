"""`check` finds jobs whose results would depend on splits, combiners and attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from examples.grep import grep
from examples.inverted_index import inverted_index
from examples.wordcount import wordcount
from ringmill import job, pipeline
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.laws import broken_laws
from tests.cluster.mapreduce.sample_jobs import balances

SAMPLE = ["a b a", "b c", "", "a a a c"]
calls: list[int] = []


def words(offset: int, line: str) -> Iterator[tuple[str, float]]:
    for word in line.split():
        yield word, float(len(line))


def mean(word: str, values: Iterable[float]) -> Iterator[tuple[str, float]]:
    numbers = list(values)
    yield word, sum(numbers) / len(numbers)


def numbered(offset: int, line: str) -> Iterator[tuple[str, float]]:
    calls.append(1)
    yield line, float(len(calls))


def growing(word: str, values: Iterable[float]) -> Iterator[tuple[str, float]]:
    calls.append(1)
    yield word, float(len(calls))


def test_the_examples_keep_the_laws() -> None:
    assert broken_laws(wordcount, SAMPLE) == []
    assert broken_laws(grep, SAMPLE, params={"pattern": "a"}) == []
    assert broken_laws(inverted_index, SAMPLE) == []


def test_a_mean_of_means_is_found_out() -> None:
    [finding, *_] = broken_laws(job(map=words, combine=mean, reduce=mean), SAMPLE)
    assert "its results depend on how often it runs" in finding


def test_a_combine_that_leaves_nothing_is_found_out_where_reduce_gives_something() -> None:
    [finding, *_] = broken_laws(balances, ["a 1", "b 2", "a -1"])
    assert "without combine, []" in finding


def test_a_map_that_remembers_is_found_out() -> None:
    assert "for the same record" in broken_laws(job(map=numbered), SAMPLE)[0]


def piling(offset: int, line: str) -> Iterator[tuple[str, list[int]]]:
    pile: list[int] = []
    for number, word in enumerate(line.split()):
        pile.append(number)
        yield word, pile


def kept(word: str, piles: Iterable[list[int]]) -> Iterator[tuple[str, list[int]]]:
    pile: list[int] = []
    for each in piles:
        pile += each
        yield word, pile


def apart(offset: int, line: str) -> Iterator[tuple[str, list[int]]]:
    for word in line.split():
        yield word, [offset]


def unmeasured(offset: int, line: str) -> Iterator[tuple[str, float]]:
    yield line, float("nan")


def test_what_is_changed_after_it_was_given_is_found_out() -> None:
    """It is encoded when a buffer is full: what is written would follow from the splits and the memory."""
    assert "map gave ('a', [0]) and changed it to ('a', [0, 1, 2])" in broken_laws(job(map=piling), SAMPLE)[0]
    [finding] = broken_laws(job(map=apart, reduce=kept), SAMPLE)
    assert "reduce gave ('a', [0]) and changed it to ('a', [0, " in finding


def test_a_nan_is_the_same_as_itself() -> None:
    assert broken_laws(job(map=unmeasured), SAMPLE) == []


def test_a_pipeline_is_not_a_job_that_can_be_checked() -> None:
    with pytest.raises(InvalidArgument, match="checks one job, not a JobChain"):
        broken_laws(pipeline(job(map=words)), SAMPLE)  # type: ignore[arg-type]


def test_a_reduce_that_remembers_is_found_out() -> None:
    assert "two results for the same values" in broken_laws(job(map=words, reduce=growing), SAMPLE)[0]
