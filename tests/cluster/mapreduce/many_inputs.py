"""Jobs of several inputs."""

from collections.abc import Iterable, Iterator

from ringmill import FileInput, FileOutput, Source, Sum, job


def orders(line: int, row: list[str]) -> Iterator[tuple[str, int]]:
    yield row[0], int(row[1])


def refunds(lines: list[bytes]) -> list[tuple[str, int]]:
    return [(name.decode(), -int(cents)) for name, cents in (line.split() for line in lines)]


def names(offset: int, row: dict) -> Iterator[tuple[str, str]]:  # type: ignore[type-arg]
    yield row["customer"], row["name"]


def said(customer: str, values: Iterable[int | str]) -> Iterator[tuple[str, list[int | str]]]:
    yield customer, list(values)


def heads(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


balance = job(
    sources=[
        Source("orders", map=orders, input=FileInput("csv")),
        Source("refunds", map_batch=refunds, input=FileInput("bytes")),
    ],
    reduce=Sum(),
)

everything = job(
    sources=[
        Source("refunds", map_batch=refunds, input=FileInput("bytes")),
        Source("names", map=names, input=FileInput("jsonl")),
        Source("orders", map=orders, input=FileInput("csv")),
    ],
    reduce=said,
    output=FileOutput("jsonl"),
)

listed = job(
    sources=[
        Source("refunds", map_batch=refunds, input=FileInput("bytes")),
        Source("orders", map=orders, input=FileInput("csv")),
    ],
    order="input",
)

_OF_KEYS = Source("keys", map_batch=heads)
_OF_PAIRS = Source("pairs", map=orders, input=FileInput("csv"))
keys_first = job(sources=[_OF_KEYS, _OF_PAIRS])
keys_last = job(sources=[_OF_PAIRS, _OF_KEYS])
