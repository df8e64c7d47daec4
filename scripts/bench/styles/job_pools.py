"""The work of job_styles.py on a multiprocessing.Pool, as plain as one would write it.

A chunk of lines a task; the parent puts the results together and writes one synced file.  It survives
nothing, and its parent holds the whole result in memory.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from styles.job_styles import NEEDLE

__all__ = ["POOLS", "chunks_of", "run_pool", "work_of", "write"]

CHUNK_BYTES = 4 * 2**20
Chunk = tuple[str, int, int]


def words_by_line(chunk: Chunk) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in lines_of(chunk):
        for word in line.decode().split():
            word = word.lower()  # noqa: PLW2901
            counts[word] = counts.get(word, 0) + 1
    return counts


def words_by_block(chunk: Chunk) -> Counter[bytes]:
    return Counter(block_of(chunk).lower().split())


def found_by_line(chunk: Chunk) -> list[bytes]:
    return [line for line in lines_of(chunk) if NEEDLE in line.decode()]


def found_by_block(chunk: Chunk) -> list[bytes]:
    return [line for line in lines_of(chunk) if b"ing" in line]


def sorted_chunk(chunk: Chunk) -> list[bytes]:
    return sorted(lines_of(chunk))


def block_of(chunk: Chunk) -> bytes:
    """The lines that begin in [start, end) of a file."""
    path, start, end = chunk
    with open(path, "rb") as file:
        file.seek(max(start - 1, 0))
        if start:
            file.readline()
        begin = file.tell()
        return file.read(max(0, end - begin)) + (file.readline() if end > begin else b"")


def lines_of(chunk: Chunk) -> list[bytes]:
    lines = block_of(chunk).split(b"\n")
    return lines[:-1] if not lines[-1] else lines


def write_counts(results: Iterable[dict[str, int] | Counter[bytes]], output: Path) -> None:
    counts: Counter[str | bytes] = Counter()
    for each in results:
        counts.update(each)
    lines = [(word.encode() if isinstance(word, str) else word, count) for word, count in counts.items()]
    write((b"%b\t%d\n" % pair for pair in sorted(lines)), output)


def write_lines(results: Iterable[list[bytes]], output: Path) -> None:
    write((b"\n".join(lines) + b"\n" for lines in results if lines), output)


def write_sorted(results: Iterable[list[bytes]], output: Path) -> None:
    lines: list[bytes] = []
    for each in results:
        lines += each
    lines.sort()
    write_lines([lines], output)


def write(pieces: Iterable[bytes], output: Path) -> None:
    with output.open("wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


_WORK = {
    "words_function": (words_by_line, write_counts),
    "words_record": (words_by_line, write_counts),
    "words_batch": (words_by_block, write_counts),
    "words_columns": (words_by_block, write_counts),
    "grep_record": (found_by_line, write_lines),
    "grep_batch": (found_by_block, write_lines),
    "sort_record": (sorted_chunk, write_sorted),
    "sort_batch": (sorted_chunk, write_sorted),
}
POOLS = tuple(_WORK)


def work_of(name: str) -> tuple[Callable[[Chunk], Any], Callable[[Iterable[Any], Path], None]]:
    """What is done with each chunk, and what writes the results, in the order of the chunks."""
    return _WORK[name]  # type: ignore[return-value]


def chunks_of(files: Iterable[str]) -> list[Chunk]:
    return [
        (path, start, start + CHUNK_BYTES)
        for path in files
        for start in range(0, os.stat(path).st_size, CHUNK_BYTES)
    ]


def run_pool(name: str, files: list[Path], output: Path, workers: int) -> None:
    """Do the work of the job `name`, from the start of the pool to the synced file."""
    work, put_together = work_of(name)
    with multiprocessing.Pool(workers) as pool:
        put_together(pool.imap(work, chunks_of(map(str, files))), output)
        pool.close()
        pool.join()
