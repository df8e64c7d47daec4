"""Jobs in which a few keys may have most of the records."""

from collections.abc import Iterable, Iterator

from ringmill import Sum, job


def one(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def visits(offset: int, line: str) -> Iterator[tuple[tuple[str, int], int]]:
    yield (line, offset), 1


def visited(name: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield name, sum(counts)


def lines(batch: list[str]) -> list[str]:
    return batch


def at_the_end(word: str, parts: int) -> int:
    return parts - 1


listed = job(map=one, reduce=total, reducers=4)
folded = job(map=one, reduce=Sum(), reducers=4)
chosen = job(map=one, reduce=total, reducers=4, partition=at_the_end)
grouped = job(map=visits, reduce=visited, group_by=1, reducers=4)
sorted_pairs = job(map=one, reducers=4)
