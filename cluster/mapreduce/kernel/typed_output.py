"""Reads the records of a folder that a job or a stage has written as FileOutput("records").

I/O only through the FileSystem passed in.  Layout: docs/formats/job.md, "Typed records".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from ringmill.cluster.mapreduce.api.formats import FileOutput
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.file_kinds import is_packed
from ringmill.cluster.mapreduce.files.inputs import find_inputs
from ringmill.cluster.mapreduce.files.readers import pages
from ringmill.cluster.mapreduce.files.unpacking import unpacked_blocks
from ringmill.cluster.ports import FileSystem

__all__ = ["as_collected", "records_in"]


def as_collected(job: JobDefinition) -> JobDefinition:
    """A job as it runs for a caller who wants its records, whatever format it declares."""
    return replace(job, output=FileOutput("records"))


def records_in(types: TypedRecords, folder: str, files: FileSystem) -> Iterator[tuple[Any, Any]]:
    """Key and value of each record, in the order of the parts; a block of a part is in memory at a time.

    Raises TaskFailed, with the file as its position, for what is no such file; InvalidArgument for a folder
    that is not there; OSError.
    """
    for found in find_inputs([folder], files).files:
        with closing(files.open_read(found.path)) as file:
            blocks = unpacked_blocks(file) if is_packed(found.path) else pages(file)
            try:
                for block in types.unpacked(blocks):
                    yield from block
            except TaskFailed as failure:
                raise TaskFailed(failure.cause, failure.message, failure.frames, found.path) from failure
