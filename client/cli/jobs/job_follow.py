"""`ringmill job follow`, and how `job run` waits for the end of its job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.jobs.job_document import failure_lines, job_document, job_fields, journal_note
from ringmill.client.cli.jobs.job_progress import shown_progress

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient
    from ringmill.client.jobs.job_values import JobState

__all__ = ["follow", "say_it_goes_on", "show_end", "show_until_over"]


@click.command()
@click.argument("job")
@click.pass_obj
def follow(settings: Settings, job: str) -> None:
    """Wait for the end of JOB and show its progress, as `job run` does.

    Exits with 0 when it succeeded, 1 when it failed, 9 when it was killed.
    """

    async def wait() -> JobState:
        async with open_client(settings) as db:
            return await show_until_over(settings, db, job)

    try:
        last = asyncio.run(wait())
    except KeyboardInterrupt:
        say_it_goes_on(settings, job)
        raise
    show_end(settings, last)


async def show_until_over(settings: Settings, db: AsyncClient, job: str) -> JobState:
    """Show the progress of a job until it is over.  Returns its last state."""
    was_of_journal = False
    with shown_progress(settings) as show:
        async for state in db.jobs.watch(job):
            if state.is_of_journal and not was_of_journal:
                output.note(journal_note(job))
            was_of_journal = state.is_of_journal
            show(state)
    return state


def say_it_goes_on(settings: Settings, job: str) -> None:
    """Tell a user who pressed Ctrl-C that the job continues on the cluster."""
    output.advise(
        settings,
        f"job {job} still runs on the cluster; wait for it with: ringmill job follow {job}; "
        f"stop it with: ringmill job kill {job}",
    )


def show_end(settings: Settings, last: JobState) -> None:
    """Show the result of a job that is over.  Raises JobFailed, JobKilled."""
    if settings.output == "json":
        output.show(settings, job_document(last), (), ())
    elif last.state == "SUCCEEDED":
        output.fields(settings, {}, job_fields(last))
        output.next_command(
            settings, f"ringmill job output {last.job} --cat", f"ringmill job status {last.job}"
        )
    elif last.state == "FAILED":
        for line in failure_lines(last.failures):
            output.note(line)
    last.raise_unless_succeeded()
