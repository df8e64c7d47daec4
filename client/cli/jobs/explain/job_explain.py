"""`ringmill job explain`, `counters`: what a job does, or did."""

from __future__ import annotations

import asyncio

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.failure_text import FileFailed
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.jobs.explain.explain_page import explanation_page
from ringmill.client.cli.jobs.explain.explain_text import explanation_lines
from ringmill.client.cli.jobs.job_document import journal_note
from ringmill.client.jobs.explanation import JobExplanation
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.printable import printable

__all__ = ["counters", "explain"]


@click.command()
@click.argument("job")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False), metavar="FILE",
    help="also write one page with a chart of the slots and a table of the attempts",
)  # fmt: skip
@click.pass_obj
def explain(settings: Settings, job: str, page: str | None) -> None:
    """Show where the time of JOB went.  It may run or be over.

    The critical path, the time by phase, how busy the slots were, slow tasks, unequal partitions, attempts
    that did not count, and failures.
    """

    async def ask() -> tuple[JobExplanation, str]:
        async with open_client(settings) as db:
            state, attempts = await db.jobs.state_and_attempts(job)
            return JobExplanation.of(state, attempts), state.name

    explanation, title = asyncio.run(ask())
    if page is not None:
        try:
            with open(page, "w", encoding="utf-8") as file:
                file.write(explanation_page(explanation, title))
        except OSError as error:
            raise FileFailed(f"{page!r}: {error.strerror or error}") from error  # a full disk names no file
    if explanation.is_of_journal:
        output.note(journal_note(job))
    if settings.output == "json":
        output.show(settings, explanation.to_dict(), (), ())
        return
    for line in explanation_lines(explanation):
        print(printable(line))


@click.command()
@click.argument("job")
@click.pass_obj
def counters(settings: Settings, job: str) -> None:
    """Show the records that went through JOB, and the counters of its code; those of attempts that count."""

    async def ask() -> JobState:
        async with open_client(settings) as db:
            return await db.jobs.status(job)

    state = asyncio.run(ask())
    document = {
        "job": state.job, "state": state.state, "of_journal": state.is_of_journal,
        "records": dict(state.records), "counters": dict(state.counters),
    }  # fmt: skip
    if state.is_of_journal:
        output.note(journal_note(job))
    rows = [*state.records.items(), *sorted(state.counters.items())]
    output.show(settings, document, ("COUNTER", "VALUE"), rows)
