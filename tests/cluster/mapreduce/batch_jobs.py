"""One word count and one list of places, written record by record and in each shape of map_batch."""

from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from ringmill import Collect, Context, Count, FileInput, FileOutput, Sum, job

LINES = FileInput("lines")
JSONL = FileOutput("jsonl")


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split(" "):
        yield word, 1


def words_of_texts(lines: list[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        for word in line.split(" "):
            yield word, 1


def words_of_bytes(lines: list[bytes]) -> dict[str, int]:
    return dict(Counter(b" ".join(lines).decode("utf-8", "surrogateescape").split(" ")))


def words_of_block(block: bytes) -> Counter[str]:
    lines = block.decode("utf-8", "surrogateescape").replace("\r\n", "\n").removesuffix("\n")
    return Counter(lines.replace("\n", " ").split(" "))


def words_alone(lines: list[str]) -> list[str]:
    return " ".join(lines).split(" ")


def places(offset: int, line: bytes) -> Iterator[tuple[bytes, int]]:
    yield line[:1], offset


def places_of_batch(offset: int, lines: list[bytes], ctx: Context) -> list[tuple[bytes, int]]:
    ctx.count("lines", len(lines))
    pairs = []
    for line in lines:
        pairs.append((line[:1], offset))
        offset += len(line) + 1
    return pairs


def ids(offset: int, row: Any) -> Iterator[tuple[str, str]]:
    yield row["id"], row["name"]


def ids_of_batch(rows: list[Any]) -> dict[str, str]:
    return {row["id"]: row["name"] for row in rows}


def names(line: int, row: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield row["id"], row["name"]


def names_of_batch(line: int, rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["id"]: row["name"] for row in rows}


def failing(lines: list[bytes]) -> list[bytes]:
    if b"bad" in lines:
        raise ValueError("a bad line")
    return lines


def undeclared(lines: list[bytes]) -> dict[bytes, int]:
    return list(lines)  # type: ignore[return-value]


def nothing(lines: list[bytes]) -> list[bytes]:
    return None  # type: ignore[return-value]


def one_text(lines: list[bytes]) -> list[bytes]:
    return b"text"  # type: ignore[return-value]


def singles(lines: list[str]) -> list[tuple[str, int]]:
    return [(line,) for line in lines]  # type: ignore[misc]


def longest(lines: list[str]) -> list[tuple[str, int]]:
    return [("longest", max(map(len, lines)))]


def same(offset: int, line: bytes) -> Iterator[tuple[int, bytes]]:
    yield offset, line


def matching(lines: list[bytes]) -> list[tuple[None, bytes]]:
    return [(None, line) for line in lines if b"7" in line]


def rare_lines(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line in (b"77", b"4077\r")]


def all_lines(lines: list[bytes]) -> list[bytes]:
    return lines


def keyed(offset: int, line: bytes) -> Iterator[tuple[tuple[bytes, int], bytes]]:
    yield (line[:2], offset), line


def numbers(lines: list[bytes]) -> list[tuple[int, bytes]]:
    return [(int(line), line) for line in lines]


def by_last_digit(number: int, parts: int) -> int:
    return number % 10 % parts


def out_of_range(number: int, parts: int) -> int:
    return parts


def now(lines: list[bytes]) -> list[tuple[float, bytes]]:
    return [(perf_counter() * 1e7 % 1000, line) for line in lines]


RAW = FileInput("raw")
AS_LINES = FileOutput("lines")
copied = job(map=same, input=RAW, output=AS_LINES, order="input")
grepped = job(map_batch=matching, input=RAW, output=AS_LINES, order="input", reducers=3)
rare = job(map_batch=rare_lines, input=RAW, output=AS_LINES, order="input")
sorted_lines = job(map_batch=all_lines, input=RAW, output=AS_LINES, order="total")
hashed_lines = job(map_batch=all_lines, input=RAW, output=AS_LINES)
sorted_pairs = job(map=keyed, input=RAW, output=AS_LINES, order="total", reducers=3)
sorted_counts = job(map_batch=all_lines, reduce=Count(), input=RAW, order="total")
sorted_numbers = job(map_batch=numbers, input=RAW, output=AS_LINES, order="total", reducers=5)
by_digit = job(map_batch=numbers, input=RAW, output=AS_LINES, partition=by_last_digit, reducers=3)
misplaced = job(map_batch=numbers, input=RAW, partition=out_of_range)
unordered = job(map_batch=now, input=RAW, order="total")
per_record = job(map=words, reduce=Sum())
of_texts = job(map_batch=words_of_texts, reduce=Sum())
of_bytes = job(map_batch=words_of_bytes, reduce=Sum())
of_block = job(map_batch=words_of_block, combine=Sum(), reduce=Sum())
alone = job(map_batch=words_alone, reduce=Count())
pairs_counted = job(map_batch=words_of_texts, reduce=Count())
placed = job(map=places, reduce=Collect(), input=FileInput("bytes"), output=JSONL)
placed_by_batch = job(map_batch=places_of_batch, reduce=Collect(), input=FileInput("bytes"), output=JSONL)
parsed = job(map=ids, input=FileInput("jsonl"))
parsed_by_batch = job(map_batch=ids_of_batch, input=FileInput("jsonl"))
rows = job(map=names, input=FileInput("csv"))
rows_by_batch = job(map_batch=names_of_batch, input=FileInput("csv"))
