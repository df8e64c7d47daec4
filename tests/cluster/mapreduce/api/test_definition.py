"""What `job()` refuses, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ringmill import Context, FileInput, FileOutput, Sum, job
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.signatures import fits


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def with_context(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    yield line, 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def of_floats(word: str, counts: Iterable[float]) -> Iterator[tuple[str, float]]:
    yield word, sum(counts)


def of_numbers(number: int, counts: Iterable[int]) -> Iterator[tuple[int, int]]:
    yield number, sum(counts)


def of_texts(word: str, texts: Iterable[str]) -> Iterator[tuple[str, int]]:
    yield word, len(list(texts))


def lengths(word: str, counts: Iterable[int]) -> Iterator[tuple[str, str]]:
    yield word, str(sum(counts))


def no_hints(offset, line):  # type: ignore[no-untyped-def]
    yield line, 1


def misnamed_context(offset: int, line: str, context: Context) -> Iterator[tuple[str, int]]:
    yield line, 1


def not_pairs(offset: int, line: str) -> Iterator[str]:
    yield line


def takes_bytes(offset: int, line: bytes) -> Iterator[tuple[str, int]]:
    yield "", 1


def one_parameter(line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def sets(offset: int, line: str) -> Iterator[tuple[str, set[int]]]:
    yield line, {1}


@dataclass
class Node:
    name: str
    next: Node | None


@dataclass
class Unknown:
    when: NotThere  # type: ignore[name-defined]  # noqa: F821


def linked(offset: int, line: str) -> Iterator[tuple[str, list[Node]]]:
    yield line, []


def unknown(offset: int, line: str) -> Iterator[tuple[str, Unknown | None]]:
    yield line, None


def by_name(offset: int, *, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


class CallableObject:
    def __call__(self, offset: int, line: str) -> Iterator[tuple[str, int]]:
        yield line, 1


def test_a_job_of_plain_functions_is_accepted_and_ctx_is_found() -> None:
    made = job(map=with_context, combine=total, reduce=of_floats)
    assert made.map_signature.wants_context
    assert made.reduce_signature is not None
    assert not made.reduce_signature.wants_context
    assert (made.reduce_signature.out_key, made.reduce_signature.out_value) == (str, float)


def nested() -> Callable[..., Iterator[tuple[str, int]]]:
    def inner(offset: int, line: str) -> Iterator[tuple[str, int]]:
        yield line, 1

    return inner


def by_length(key: str, parts: int) -> int:
    return len(key) % parts


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"map": lambda offset, line: [(line, 1)]}, r"map is a lambda at .*test_definition\.py:\d+"),
        ({"map": nested()}, r"map is a nested function at .*test_definition\.py:\d+"),
        ({"map": CallableObject()}, "must be a function of a module"),
        ({"map": no_hints}, r"no_hints\(\): 'offset' has no type hint"),
        ({"map": misnamed_context}, "parameter for the context is named ctx, not context"),
        ({"map": linked}, "map .* dataclass Node is a part of itself"),
        ({"map": unknown}, "a field of dataclass Unknown: a type hint names 'NotThere'"),
        ({"map": by_name}, "line is not given by its place"),
        ({"map": not_pairs}, r"must be Iterator\[tuple\[KEY, VALUE\]\]"),
        ({"map": one_parameter}, "must take two parameters"),
        ({"map": takes_bytes}, "gives a value of type str, map takes bytes"),
        ({"map": sets}, "cannot be a value"),
        ({"map": words, "reduce": of_numbers}, r"gives a key of type str, reduce .*of_numbers\(\) takes int"),
        ({"map": words, "reduce": of_texts}, r"gives a value of type int, reduce .*of_texts\(\) takes str"),
        ({"map": words, "combine": lengths}, "gives a value of type str, but it stands for"),
        ({"map": words, "reducers": -1}, "reducers must be 0 to 4096, not -1"),
        ({"map": words, "reducers": 0, "reduce": of_numbers}, "takes int"),
        ({"map": words, "reducers": 0, "combine": Sum()}, "without a reduce"),
        ({"map": words, "reducers": 0, "partition": by_length}, "reducers=0 leaves no place for partition"),
        ({"map": words, "reducers": 0, "order": "total"}, "reducers=0 keeps the order of the input"),
        ({"map": words, "reducers": 0, "on_bad_record": "quarantine:3"}, "no task gathers the records"),
        ({"map": words, "output": FileOutput(format="bytes")}, "writes values as they are"),
        (
            {"map": words, "output": "jsonl"},
            "output must be a FileOutput, KvOutput or CollectOutput, not 'jsonl'",
        ),
        ({"map": words, "output": ""}, "output must be a FileOutput, KvOutput or CollectOutput, not ''"),
        ({"map": words, "input": "lines"}, "input must be a FileInput or KvInput, not 'lines'"),
    ],
)
def test_a_job_that_cannot_work_is_refused_with_the_place(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        job(**parts)


def test_a_format_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidArgument, match=r"orc.*lines, jsonl"):
        FileInput(format="orc")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Animal:
    legs: int


@dataclass(frozen=True)
class Dog(Animal):
    name: str


@pytest.mark.parametrize(
    ("given", "wanted", "answer"),
    [
        (int, int, True),
        (int, float, True),
        (float, int, False),
        (Dog, Animal, True),
        (Animal, Dog, False),
        (int, int | None, True),
        (int | None, int, False),
        (list[int], list[int], True),
        (list[int], list[str], False),
        (list[int], list, True),
        (tuple[int, int], tuple[int, ...], True),
        (tuple[int, str], tuple[int, int], False),
        (dict[str, int], Any, True),
        (list[int], Iterable[int], True),
    ],
)
def test_one_type_fits_another_as_a_type_checker_would_say(given: Any, wanted: Any, answer: bool) -> None:
    assert fits(given, wanted) is answer
