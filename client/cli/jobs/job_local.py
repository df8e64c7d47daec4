"""`ringmill job local`: runs a job on this machine, without a cluster."""

from __future__ import annotations

import time

import click

from ringmill.client.cli.console import output as forms
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.standard_streams import prints_on_stderr
from ringmill.client.cli.jobs.job_arguments import job_arguments, named_texts
from ringmill.client.cli.jobs.job_document import counted_fields
from ringmill.client.cli.jobs.job_here import job_here
from ringmill.client.jobs.run_local import run_local
from ringmill.cluster.adapters.processes.forked_tasks import MOST_PROCESSES

__all__ = ["local"]


@click.command()
@job_arguments
@click.option(
    "--processes", type=click.IntRange(1, MOST_PROCESSES), default=1, show_default=True,
    help="number of processes that run tasks; with 1 a debugger can stop in the job",
)  # fmt: skip
@click.pass_obj
def local(
    settings: Settings,
    target: str,
    inputs: tuple[str, ...],
    output: str | None,
    reducers: int | None,
    split_mib: int | None,
    params: tuple[str, ...],
    side: tuple[str, ...],
    on_bad_record: str | None,
    overwrite: bool,
    processes: int,
) -> None:
    """Run the job NAME of MODULE.py on this machine, without a cluster.

    The output is the same, byte for byte, as on a cluster.  What the job's code prints goes to stderr.
    """
    given, paths = named_texts("--param", params), named_texts("--side", side)
    with prints_on_stderr():
        loaded = job_here(target)
        began = time.monotonic()
        result = run_local(
            loaded.definition, inputs or None, output,
            reducers=reducers, params=given, overwrite=overwrite, processes=processes,
            split_mib=split_mib, side=paths, on_bad_record=on_bad_record,
        )  # fmt: skip
        seconds = time.monotonic() - began
    document = {
        "state": "SUCCEEDED",
        "output": result.output,
        "parts": list(result.parts),
        "seconds": round(seconds, 3),
        "records": dict(result.records),
        "counters": dict(result.counters),
        "notes": list(result.notes),
    }
    rows: list[tuple[str, object]] = [
        ("state", "SUCCEEDED"),
        ("output", result.output),
        ("took", f"{seconds:.1f} s"),
        *counted_fields(result.records, result.counters),
        *(("note", note) for note in result.notes),
    ]
    forms.fields(settings, document, rows)
