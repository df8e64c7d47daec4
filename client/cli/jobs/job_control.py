"""`ringmill job kill`, `pause`, `resume`, `purge`."""

from __future__ import annotations

import asyncio

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.jobs.job_document import job_document
from ringmill.client.jobs.job_values import JobState

__all__ = ["kill", "pause", "purge", "resume"]


@click.command()
@click.argument("job")
@click.pass_obj
def kill(settings: Settings, job: str) -> None:
    """Stop JOB.  A job that is over, or is showing its output, does not change."""

    async def ask() -> JobState:
        async with open_client(settings) as db:
            return await db.jobs.kill(job)

    _show(settings, asyncio.run(ask()))


@click.command()
@click.argument("job")
@click.pass_obj
def pause(settings: Settings, job: str) -> None:
    """Let JOB begin no more attempts, until `ringmill job resume`.

    Attempts that run go on to their end, and what is done stays done.  A job that is over, or
    is showing its output, does not change.
    """

    async def ask() -> JobState:
        async with open_client(settings) as db:
            return await db.jobs.pause(job)

    state = asyncio.run(ask())
    _show(settings, state)
    if state.state == "PAUSED":
        output.next_command(settings, f"ringmill job resume {state.job}")


@click.command()
@click.argument("job")
@click.pass_obj
def resume(settings: Settings, job: str) -> None:
    """Let a paused JOB go on.  A job that is not paused does not change."""

    async def ask() -> JobState:
        async with open_client(settings) as db:
            return await db.jobs.resume(job)

    _show(settings, asyncio.run(ask()))


@click.command()
@click.argument("job")
@click.pass_obj
def purge(settings: Settings, job: str) -> None:
    """Remove JOB, which is over, from the history: its row, figures, errors and events.

    Its output stays.  Nothing can be told of the job afterwards, and nothing brings it back.
    """

    async def ask() -> tuple[str, ...]:
        async with open_client(settings) as db:
            return await db.jobs.purge(job)

    silent = asyncio.run(ask())
    output.fields(settings, {"job": job, "purged": True, "silent": list(silent)}, [("purged", job)])
    if silent:
        output.note(f"{', '.join(silent)} did not hear of it, and may tell of it until started again")


def _show(settings: Settings, state: JobState) -> None:
    output.fields(settings, job_document(state), [("job", state.job), ("state", state.state)])
