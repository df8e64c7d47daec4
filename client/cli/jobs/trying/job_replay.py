"""`ringmill job replay`: runs one map task of a job again, on this machine."""

from __future__ import annotations

import asyncio
import os
import pdb
import sys
import tempfile
import time
from contextlib import closing
from types import TracebackType

import click

from ringmill.client.cli.console import output as forms
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.standard_streams import prints_on_stderr
from ringmill.client.cli.jobs.job_document import counted_fields
from ringmill.client.jobs.job_modules import imported_job
from ringmill.client.jobs.trying.replaying import code_of, replayed
from ringmill.client.jobs.trying.task_rows import MapTask
from ringmill.cluster.adapters.files.os_files import OsFileSystem

__all__ = ["replay"]


@click.command()
@click.argument("job")
@click.argument("task", metavar="map-N")
@click.argument("target", metavar="[MODULE.py:NAME]", required=False)
@click.option("--pdb", "with_pdb", is_flag=True, help="at an error of the job's code, look at it in pdb")
@click.pass_obj
def replay(settings: Settings, job: str, task: str, target: str | None, with_pdb: bool) -> None:
    """Run a map task of a job again, in this process: on the same records, with the same parameters.

    The code is that of MODULE.py here; without one, that of the job's module below the current folder, and
    only where it is the code that the job ran.  Nothing is written.  Errors are told as those of the job are.
    """
    found = asyncio.run(_task(settings, job, task))
    with prints_on_stderr():
        with closing(OsFileSystem()) as files:
            code = code_of(found, target, files, os.getcwd())
        if code.sources.bundle.sha256 != found.spec.bundle_sha256:
            forms.note(f"the code in {code.sources.root} is not what job {job} ran")
        loaded = imported_job(code)
        sys.path.insert(0, loaded.root)  # functions may import when they run, as on a node
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ringmill-replay-") as folder:
            done = replayed(found, loaded.in_file, folder, _look if with_pdb else None)
        seconds = time.monotonic() - began
    records = {"map_in": done.records_in, "map_out": done.records_out}
    document = {
        "job": job, "task": task, "state": "SUCCEEDED", "seconds": round(seconds, 3), "records": records,
        "counters": dict(done.counters), "log": list(done.log),
    }  # fmt: skip
    rows: list[tuple[str, object]] = [
        ("state", "SUCCEEDED"),
        ("took", f"{seconds:.1f} s"),
        *counted_fields(records, done.counters),
        *(("log", line) for line in done.log),
    ]
    forms.fields(settings, document, rows)


async def _task(settings: Settings, job: str, task: str) -> MapTask:
    async with open_client(settings) as db:
        return await db.jobs.map_task(job, task)


def _look(error: BaseException, traceback: TracebackType) -> None:
    forms.note(f"{type(error).__name__}: {error}")
    pdb.post_mortem(traceback)
