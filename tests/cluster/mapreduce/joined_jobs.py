"""Joins for the tests: people (left) and what they bought (right), by a number."""

from collections.abc import Iterator
from typing import Any

from ringmill import Context, FileInput, FileOutput, JobDefinition, KvInput, Source, join


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

USERS, ORDERS = Source("users", input=KvInput("users")), Source("orders", input=KvInput("orders"))


def priced(key: bytes, cents: str) -> Iterator[tuple[str, int]]:
    """What was ordered by whom: the key is `{user}/order`."""
    yield key.decode().partition("/")[0].strip("{}"), int(cents)


def paired(user: str, name: str | None, cents: str | None) -> Iterator[tuple[str, str]]:
    yield user, f"{name} {cents}"


def of_keyspaces(strategy: Any, how: Any = "inner", on: Any = "{tag}") -> JobDefinition:
    return join(USERS, ORDERS, on=on, how=how, strategy=strategy, result=paired)


def with_maps(strategy: Any, cents: Any = priced) -> JobDefinition:
    named = Source("users", map=named_user, input=KvInput("users"))
    return join(named, Source("orders", map=cents, input=KvInput("orders")), strategy=strategy, output=JSON)


def named_user(key: str, name: str) -> Iterator[tuple[str, str]]:
    yield key.strip("{}"), name
