"""Joins for the tests: people (left) and what they bought (right), by a number."""

from collections.abc import Iterator
from typing import Any

from ringmill import Context, FileInput, FileOutput, JobDefinition, Source, join


def person(offset: int, line: str) -> Iterator[tuple[int | None, str]]:
    number, name = line.split(" ")
    yield (int(number) if number != "-" else None), name


def bought(lines: list[bytes]) -> Iterator[tuple[int | None, tuple[str, int]]]:
    for line in lines:
        number, what, cents = line.decode().split(" ")
        yield (int(number) if number != "-" else None), (what, int(cents))


def weight(offset: int, line: str) -> Iterator[tuple[float, Any]]:
    yield int(line[0]) if offset else -0.0, (offset, [line])


def amount(offset: int, line: str) -> Iterator[tuple[float, dict[str, Any]]]:
    yield int(line[0]), {"of": (line, offset)}


def seen(key: float, left: Any, right: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    yield f"{key}", f"{left} {right}"


def told(
    number: int | None, name: str | None, thing: tuple[str, int] | None, ctx: Context
) -> Iterator[tuple[str, int]]:
    ctx.count("pairs")
    if name != "silent":
        yield f"{name}/{thing[0] if thing else '-'}", thing[1] if thing else 0


PEOPLE = Source("people", map=person)
THINGS = Source("things", map_batch=bought, input=FileInput("bytes"))
JSON = FileOutput("jsonl")


def joined(how: Any, strategy: Any, **more: Any) -> JobDefinition:
    return join(PEOPLE, THINGS, how=how, strategy=strategy, output=JSON, **more)


by_name = join(
    Source("people", input=FileInput("csv")),
    Source("things", input=FileInput("csv")),
    on=("id", "person"),
    how="outer",
    output=JSON,
)
with_result = join(PEOPLE, THINGS, how="left", result=told, strategy="merge")
with_result_for_all = join(PEOPLE, THINGS, how="left", result=told, strategy="broadcast")
