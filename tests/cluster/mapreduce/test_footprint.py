"""What buffered records take is told by the values alone: a buffer ends at one record in each attempt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from sys import getsizeof

import msgpack
import pytest

from ringmill import job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.footprint import footprint
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, run_map
from ringmill.cluster.mapreduce.progress import Progress

MIB = 1 << 20
WORDS = tuple(chr(0xE9 + number) * 400 for number in range(4))  # constants, which a used process has packed


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize("text", ["", "a" * 9, "é" * 9, "日" * 9, "a😀" * 9])
def test_a_text_takes_the_same_before_and_after_it_was_packed(text: str) -> None:
    text = "".join(list(text))  # of its own, which nothing has packed
    assert footprint(text) == getsizeof(text), "as Python counts it"
    word = Word(text)
    values = [text, (text, 1), [text, text], {text: text}, word]
    before = [footprint(each) for each in values]
    msgpack.packb([text, word])
    assert [footprint(each) for each in values] == before


def test_a_lone_surrogate_has_a_size() -> None:
    assert footprint("\udc80" * 3) == getsizeof("\udc80" * 3)


def weighed(offset: int, line: str) -> Iterator[tuple[str, tuple[str, float]]]:
    yield "k", (WORDS[offset % len(WORDS)], math.pi ** (offset % 37))


def summed(key: str, values: Iterable[tuple[str, float]]) -> Iterator[tuple[str, tuple[str, float]]]:
    given = list(values)
    yield key, (given[0][0], math.fsum(number for _, number in given))


def test_the_second_attempt_of_a_process_writes_what_the_first_one_did(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text("abc\n" * 30_000)
    definition = job(map=weighed, combine=summed, reduce=summed)
    spec = JobSpec.of(
        definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/in",), output="/o"
    )
    spec = replace(spec, memory_bytes=MIB)
    [split] = plan_input(spec.readings, files).splits
    written = []
    for attempt in (1, 2):
        folder = f"{tmp_path}/{attempt}"
        files.mkdir(folder)
        output = run_map(definition, MapAttempt(spec, split, 0, attempt), files, folder, Progress())
        written.append(output.partitions)
    assert written[0] == written[1]
