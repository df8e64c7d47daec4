"""Pipelines and iterations for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringmill import Context, FileInput, FileOutput, Sum, iterate, job, pipeline

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


counts = job(map=words, reduce=Sum(), params={"without": ""}, reducers=3)
order = job(map=by_count, reduce=ranked, input=RECORDS, order="key", reducers=1)
halves = job(map=halved, reduce=Sum(), input=RECORDS, output=FileOutput("jsonl"), reducers=2)

most_frequent = pipeline(counts, order)
halved_until_one = pipeline(counts, iterate(halves, max=10, until="moved"))
three_stages = pipeline(counts, iterate(halves, max=2), order)
