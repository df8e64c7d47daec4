"""Jobs whose output is a table, beside the same records in another format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ringmill import FileInput, FileOutput, Sum, job


@dataclass(frozen=True)
class Seen:
    count: int
    mean: float | None
    note: str


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split(" "):
        yield word, len(word)


def seen(word: str, lengths: Iterable[int]) -> Iterator[tuple[str, Seen]]:
    held = list(lengths)
    yield word, Seen(len(held), sum(held) / len(held) if word else None, f'"{word},\n{len(held)}\r"')


def placed(offset: int, line: str) -> Iterator[tuple[tuple[int, bytes], None]]:
    yield (offset, line.encode("utf-8", "surrogateescape")), None


def nested(
    offset: int, line: str
) -> Iterator[tuple[int, tuple[list[tuple[str, int]], dict[str, float], Seen]]]:
    yield offset, ([(word, len(word)) for word in line.split()], {"half": len(line) / 2}, Seen(1, None, line))


NAMES = ("word", "count", "mean", "note")
as_csv = job(map=words, reduce=seen, output=FileOutput("csv", columns=NAMES), reducers=3)
as_gzip = job(map=words, reduce=seen, output=FileOutput("csv", "gzip", columns=NAMES), reducers=3)
as_parquet = job(map=words, reduce=seen, output=FileOutput("parquet", "zstd"), reducers=3)
as_records = job(map=words, reduce=seen, output=FileOutput("records"), reducers=3)
in_order = job(map=placed, output=FileOutput("csv"), order="input", reducers=2)
in_order_parquet = job(map=placed, output=FileOutput("parquet"), order="input", reducers=2)
map_only = job(
    map=nested, output=FileOutput("parquet", columns=("at", "words", "halves", "seen")), reducers=0
)
bare = job(map=words, reduce=Sum(), output=FileOutput("csv"))


def back(line: int, row: dict[str, str]) -> Iterator[tuple[str, int]]:
    yield row["word"], int(row["count"])


from_csv = job(map=back, reduce=Sum(), input=FileInput("csv"))
