"""`ringmill job check`: tries the laws of a job on the first records of its input."""

from __future__ import annotations

import click

from ringmill.client.cli.console import output as forms
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.standard_streams import prints_on_stderr
from ringmill.client.cli.jobs.job_arguments import job_arguments_of, named_texts
from ringmill.client.cli.jobs.job_here import job_here
from ringmill.client.jobs.trying.check_job import check_job

__all__ = ["check"]


@click.command()
@job_arguments_of("target", "inputs", "params", "side")
@click.option(
    "--records", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, metavar="N",
    help="how many records are tried, of each source",
)  # fmt: skip
@click.pass_obj
def check(
    settings: Settings,
    target: str,
    inputs: tuple[str, ...],
    params: tuple[str, ...],
    side: tuple[str, ...],
    records: int,
) -> ExitCode:
    """Try the functions of the job NAME of MODULE.py on the first records of its input.

    They are called again, in another order and on parts of what they had: a cluster does so when it combines,
    retries and cuts the input.  Nothing is written.  Exits with 1 when a law is broken.
    """
    given, paths = named_texts("--param", params), named_texts("--side", side)
    with prints_on_stderr():
        loaded = job_here(target)
        found = check_job(loaded.definition, inputs, records=records, params=given, side=paths)
    document = {"records": found.records, "broken": list(found.broken)}
    rows: list[tuple[str, object]] = [("records", f"{found.records:,}")]
    rows += [("broken", each) for each in found.broken] or [("broken", "no law")]
    forms.fields(settings, document, rows)
    return ExitCode.FAILED if found.broken else ExitCode.DONE
