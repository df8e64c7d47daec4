"""Pipelines and iterations for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringmill import (
    Context,
    FileInput,
    FileOutput,
    RoundResult,
    Source,
    Sum,
    iterate,
    job,
    join,
    pipeline,
)

RECORDS = FileInput("records")


def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    for word in line.split():
        if word != ctx.params["without"]:
            yield word, 1


def by_count(word: str, count: int) -> Iterator[tuple[tuple[int, str], None]]:
    yield (-count, word), None


def ranked(key: tuple[int, str], nothing: Iterable[None]) -> Iterator[tuple[str, int]]:
    yield key[1], -key[0]


def halved(word: str, count: int, ctx: Context) -> Iterator[tuple[str, int]]:
    ctx.count("moved", count > 1)
    ctx.count("rounds")
    yield word, max(1, count // 2)


def small_enough(result: RoundResult) -> bool:
    assert result.counters["rounds"] == sum(1 for _ in result.records()), "each record was counted"
    return max(int(count) for _, count in result.records()) < int(result.params["below"])


def confused(result: RoundResult) -> bool:
    return result.counters  # type: ignore[return-value]  # neither


def failing(result: RoundResult) -> bool:
    raise ValueError(f"round {result.number} cannot be judged")


counts = job(map=words, reduce=Sum(), params={"without": ""}, reducers=3)
order = job(map=by_count, reduce=ranked, input=RECORDS, order="key", reducers=1)
halves = job(map=halved, reduce=Sum(), input=RECORDS, output=FileOutput("jsonl"), reducers=2)


def kept(word: str, count: int) -> Iterator[tuple[str, int]]:
    yield word, count


def weight(offset: int, line: str) -> Iterator[tuple[str, int]]:
    word, times = line.split()
    yield word, int(times)


def weighed(word: str, count: int, times: int | None) -> Iterator[tuple[str, int]]:
    yield word, count * (times or 1)


weighing = join(
    Source("counts", map=kept, input=RECORDS), Source("weights", map=weight), how="left", result=weighed
)
weighed_twice = pipeline(counts, iterate(weighing, max=2), order)

most_frequent = pipeline(counts, order)
halved_until_one = pipeline(counts, iterate(halves, max=10, until="moved"))
smaller = job(map=halved, reduce=Sum(), input=RECORDS, reducers=2, params={"below": "100"})
halved_until_small = pipeline(counts, iterate(smaller, max=30, until=small_enough))
three_stages = pipeline(counts, iterate(halves, max=2), order)
