"""`ringmill job output`: lists the part files of a job or prints them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath, is_keyspace_path
from ringmill.cluster.mapreduce.file_urls import is_url

if TYPE_CHECKING:
    from ringmill.client.jobs.job_values import JobState

__all__ = ["job_output"]


@click.command("output")
@click.argument("job")
@click.option("--cat", "is_cat", is_flag=True, help="print the contents of the part files in order")
@click.pass_obj
def job_output(settings: Settings, job: str, is_cat: bool) -> None:
    """List the part files of JOB, or print their contents, unpacked, with --cat.  JOB must have succeeded."""

    async def ask() -> JobState:
        async with open_client(settings) as db:
            return await db.jobs.status(job)

    state = asyncio.run(ask())
    if is_keyspace_path(state.output) and state.state == "SUCCEEDED":
        keyspace = KeyspacePath.of(state.output).keyspace
        raise InvalidArgument(
            f"the output of job {state.job} is in keyspace {keyspace!r}, not in files",
            hint=f"ringmill scan --keyspace {keyspace}",
        )
    if is_url(state.output) and state.state == "SUCCEEDED":
        raise InvalidArgument(
            f"the output of job {state.job} is in {state.output}, not in files of this machine",
            hint=f"`ringmill job run ... --input job:{state.job}` reads it",
        )
    paths = _parts(state)
    if is_cat and settings.output != "json":
        sys.stdout.flush()
        for path in paths:
            _print(path)
        sys.stdout.buffer.flush()
        return
    rows = [(path, os.path.getsize(path)) for path in paths]
    document = {
        "job": state.job,
        "state": state.state,
        "output": state.output,
        "parts": [{"path": path, "bytes": size} for path, size in rows],
    }
    output.show(settings, document, ("PART", "BYTES"), rows)


def _print(path: str) -> None:
    """The content of a part file, unpacked.  Raises CorruptData for one that is damaged."""
    from ringmill.cluster.mapreduce.files.file_kinds import is_packed

    if not is_packed(path):
        with open(path, "rb") as plain:
            shutil.copyfileobj(plain, sys.stdout.buffer)
        return
    from ringmill.cluster.adapters.files.os_files import OsFileSystem
    from ringmill.cluster.mapreduce.failures import TaskFailed
    from ringmill.cluster.mapreduce.files.unpacking import unpacked_blocks

    with closing(OsFileSystem()) as files, closing(files.open_read(path)) as packed:
        try:
            sys.stdout.buffer.writelines(unpacked_blocks(packed))
        except TaskFailed as failure:
            raise CorruptData(f"{path}: {failure.message}") from failure


def _parts(state: JobState) -> list[str]:
    """Paths of the part files, in order.

    Raises NotFound for a job that has not succeeded, or when this machine does not have its folder.
    """
    if state.state != "SUCCEEDED":
        next_step = "status" if state.is_over else "follow"
        raise NotFound(
            f"job {state.job} is {state.state}, so it has no output",
            hint=f"`ringmill job {next_step} {state.job}`",
        )
    if not os.path.exists(os.path.join(state.output, "_SUCCESS")):
        raise NotFound(
            f"the output of job {state.job} is not in {state.output} on this machine",
            hint="it was removed, or the nodes use another file system",
        )
    names = sorted(name for name in os.listdir(state.output) if name.startswith("part-"))
    return [os.path.join(state.output, name) for name in names]
