"""What `job()` refuses of a map_batch, and what a sample shows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ringmill import Collect, FileInput, broken_laws, job
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from tests.cluster.mapreduce import batch_jobs


def takes_numbers(lines: list[int]) -> list[str]:
    return []


def takes_a_line(line: str) -> list[str]:
    return []


def takes_three(offset: int, lines: list[str], more: int) -> list[str]:
    return []


def begins_at_text(offset: str, lines: list[str]) -> list[str]:
    return []


def gives_number(lines: list[str]) -> int:
    return 0


def gives_lists(lines: list[str]) -> list[list[str]]:
    return []


def untyped(lines):  # type: ignore[no-untyped-def]
    return lines


@pytest.mark.parametrize(
    ("function", "format", "message"),
    [
        (
            takes_numbers,
            "lines",
            r"or bytes or pyarrow.StringArray, map_batch takes list\[int\]",
        ),
        (takes_a_line, "lines", "map_batch takes str"),
        (batch_jobs.words_of_texts, "bytes", r"map_batch takes list\[str\]"),
        (batch_jobs.words_of_texts, "file", "gives one record at a time; use map"),
        (batch_jobs.names_of_batch, "lines", r"map_batch takes list\[dict\[str, str\]\]"),
        (takes_three, "lines", "it must take a batch"),
        (begins_at_text, "lines", "takes str as where the batch begins"),
        (gives_number, "lines", "is declared to return int; it must be"),
        (gives_lists, "lines", "cannot be a key"),
        (untyped, "lines", "'lines' has no type hint"),
    ],
)
def test_a_batch_of_another_type_is_refused(function: Callable[..., Any], format: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        job(map_batch=function, input=FileInput(format))


def test_a_job_has_one_map() -> None:
    for both in ({}, {"map": batch_jobs.words, "map_batch": batch_jobs.words_alone}):
        with pytest.raises(InvalidArgument, match="needs map or map_batch"):
            job(**both)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("definition", "broken"),
    [
        (batch_jobs.of_texts, 0),
        (batch_jobs.of_block, 0),
        (batch_jobs.alone, 0),
        (batch_jobs.placed_by_batch, 0),
        (job(map_batch=batch_jobs.longest, reduce=Collect()), 1),
    ],
    ids=["texts", "block", "alone", "placed", "longest"],
)
def test_a_sample_shows_a_map_that_depends_on_where_batches_end(
    definition: JobDefinition, broken: int
) -> None:
    is_text = definition.map in (batch_jobs.words_of_texts, batch_jobs.words_alone, batch_jobs.longest)
    sample = ["a b", "b c", "a"] if is_text else [b"a b", b"b c", b"a"]
    assert len(broken_laws(definition, sample)) == broken
