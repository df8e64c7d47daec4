"""The jobs that scripts/bench/jobs.py measures: word count, grep and sort, record by record and in batches.

A cluster imports this file, so it has nothing of the benchmarks in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ringmill import FileInput, FileOutput, Sum, job

RAW, LINES = FileInput("raw"), FileOutput("lines")
NEEDLE = "ing"


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word.lower(), 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def words_of_block(block: bytes) -> Counter[bytes]:
    return Counter(block.lower().split())


def matching(offset: int, line: str) -> Iterator[tuple[None, str]]:
    if NEEDLE in line:
        yield None, line


def matching_lines(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b"ing" in line]


def first_ten(offset: int, line: bytes) -> Iterator[tuple[bytes, bytes]]:
    yield line[:10], line


def as_they_are(lines: list[bytes]) -> list[bytes]:
    return lines


words_function = job(map=words, combine=total, reduce=total)
words_record = job(map=words, reduce=Sum())
words_batch = job(map_batch=words_of_block, reduce=Sum(), input=FileInput("bytes"))
grep_record = job(map=matching, output=LINES, order="input")
grep_batch = job(map_batch=matching_lines, input=RAW, output=LINES, order="input")
sort_record = job(map=first_ten, input=RAW, output=LINES, order="total")
sort_batch = job(map_batch=as_they_are, input=RAW, output=LINES, order="total")
