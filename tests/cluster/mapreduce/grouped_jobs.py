"""Jobs whose groups are the keys with the same first parts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ringmill import Collect, Count, FileOutput, Sum, job


@dataclass(frozen=True)
class Visit:
    user: str
    day: int
    page: str


def visits(offset: int, line: str) -> Iterator[tuple[tuple[str, int, str], int]]:
    user, day, page = line.split(" ")
    yield (user, int(day), page), offset


def visits_as_rows(offset: int, line: str) -> Iterator[tuple[Visit, int]]:
    user, day, page = line.split(" ")
    yield Visit(user, int(day), page), offset


def in_order(user: str, offsets: Iterable[int]) -> Iterator[tuple[str, list[int]]]:
    yield user, list(offsets)


def first_of_day(day: tuple[str, int], offsets: Iterable[int]) -> Iterator[tuple[str, int]]:
    """It leaves the rest of the group unread."""
    user, number = day
    yield f"{user}.{number}", next(iter(offsets))


def earliest(key: tuple[str, int, str], offsets: Iterable[int]) -> Iterator[tuple[tuple[str, int, str], int]]:
    yield key, min(offsets)


def total(user: str, offsets: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield user, sum(offsets)


def least(user: str, offsets: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield user, min(offsets)


def by_user(user: str, parts: int) -> int:
    return len(user) % parts


JSON = FileOutput("jsonl")
by_time = job(map=visits, reduce=in_order, group_by=1, output=JSON)
by_rows = job(map=visits_as_rows, reduce=in_order, group_by=1, output=JSON)
placed = job(map=visits, reduce=in_order, group_by=1, output=JSON, partition=by_user)
totally = job(map=visits, reduce=in_order, group_by=1, output=JSON, order="total")
collected = job(map=visits, reduce=Collect(), group_by=1, output=JSON)
summed = job(map=visits, reduce=Sum(), group_by=1, output=JSON)
shortened = job(map=visits, combine=earliest, reduce=least, group_by=1, output=JSON)
days = job(map=visits, reduce=first_of_day, group_by=2)


def weights(offset: int, line: str) -> Iterator[tuple[float, int]]:
    yield float(line) if "." in line else int(line), 1


def by_text(weight: float, parts: int) -> int:
    return int("." in str(weight)) % parts


weighed = job(map=weights, reduce=Sum(), partition=by_text, reducers=2)


def weights_of(offset: int, line: str) -> Iterator[tuple[tuple[float, int], int]]:
    yield (float(line) if "." in line else int(line), offset), 1


weighed_groups = job(map=weights_of, reduce=Count(), partition=by_text, reducers=2, group_by=1)
