"""Iterations with update, for tests: what words hear from each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NewType

from ringmill import Context, FileInput, FileOutput, RoundResult, Sum, iterate, job, pipeline

RECORDS = FileInput("records")
JSON = FileOutput("jsonl")


@dataclass(frozen=True)
class Place:
    """Of a number in a ring of some, of which every third begins empty."""

    heard: int
    said: list[int]


def place_of(offset: int, line: str) -> Iterator[tuple[int, Place]]:
    if int(line) % 3:
        yield int(line), Place(0, [int(line)])


def told(number: int, place: Place, ctx: Context) -> Iterator[tuple[int, int]]:
    most = int(ctx.params["most"])
    for step in (1, 2, 7):
        yield (number * 5 + step) % most, number + place.heard


def heard(number: int, place: Place | None, values: Iterable[int], ctx: Context) -> Place | None:
    ctx.count("updates")
    numbers = sorted(values)
    ctx.count("silent", not numbers)
    ctx.count("new", place is None)
    if sum(numbers) % 11 == 0 and numbers:
        ctx.count("gone")
        return None
    place = place or Place(0, [])
    return Place(place.heard + sum(numbers) % 1000, [*place.said[-3:], *numbers[:2]])


def totalled(number: int, place: Place | None, values: Iterable[int], ctx: Context) -> Place:
    given = list(values)
    assert len(given) <= 1, "a fold leaves one value"
    ctx.count("silent", not given)
    place = place or Place(0, [])
    return Place(place.heard + sum(given) % 1000, [*place.said[-3:], *given])


def weighed(number: int, place: Place) -> Iterator[tuple[int, float]]:
    for step in (1, 2, 7):
        yield (number * 5 + step) % 40, (number + place.heard) / 7


def averaged(number: int, place: Place | None, values: Iterable[float]) -> Place:
    return Place(int(sum(values) * 1e6), [] if place is None else place.said)


def three_rounds(result: RoundResult) -> bool:
    return result.number >= 3 and result.counters["updates"] >= sum(1 for _ in result.records())


PARAMS = {"most": "200"}
load = job(map=place_of, reducers=2)
step = job(map=told, update=heard, input=RECORDS, output=JSON, reducers=3, params=PARAMS)
summed = job(map=told, combine=Sum(), update=totalled, input=RECORDS, output=JSON, reducers=2, params=PARAMS)
floats = job(map=weighed, combine=Sum(), update=averaged, input=RECORDS, output=JSON, reducers=2)

rounds = pipeline(load, iterate(step, max=4))
rounds_in_place = pipeline(load, iterate(summed, max=4))
until_asked = pipeline(load, iterate(step, max=9, until=three_rounds))
of_floats = pipeline(load, iterate(floats, max=2))


PageId = NewType("PageId", str)


def worth_one(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def ten(page: str, worth: int) -> Iterator[tuple[str, int]]:
    yield page, 10


def ten_of_ids(page: PageId, worth: int) -> Iterator[tuple[PageId, int]]:
    yield page, 10


def ten_to_ids(page: str, worth: int) -> Iterator[tuple[PageId, int]]:
    yield PageId(page), 10


def added(page: str, worth: int | None, values: Iterable[int]) -> int:
    return (worth or 0) + sum(values)


def added_to_id(page: PageId, worth: int | None, values: Iterable[int]) -> int:
    return (worth or 0) + sum(values)


pages_of_str = pipeline(
    job(map=worth_one, reduce=Sum(), reducers=4), iterate(job(map=ten, update=added, input=RECORDS), max=1)
)
pages_of_ids = pipeline(
    job(map=worth_one, reduce=Sum(), reducers=4),
    iterate(job(map=ten_of_ids, update=added_to_id, input=RECORDS), max=1),
)
pages_to_ids = pipeline(
    job(map=worth_one, reduce=Sum(), reducers=3),
    iterate(job(map=ten_to_ids, update=added_to_id, input=RECORDS), max=1),
)
