"""`ringmill job list`, `history`, `status`, `logs`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.jobs.explain.attempt_document import attempt_document, task_rows
from ringmill.client.cli.jobs.explain.explain_text import size_text
from ringmill.client.cli.jobs.job_document import (
    failure_lines,
    history_document,
    job_document,
    job_fields,
    journal_note,
    stage_counts,
)
from ringmill.client.jobs.job_values import ENDED, JobList, JobState, TaskLog
from ringmill.client.values import json_bytes
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.summary.job_summary import OPEN
from ringmill.cluster.printable import printable

__all__ = ["history", "list_jobs", "logs", "status"]


@click.command("list")
@click.pass_obj
def list_jobs(settings: Settings) -> None:
    """List the jobs that the nodes know, newest first.

    The last 100 jobs that are over are kept; with them all that are not.  A job that no node coordinates now
    is OPEN: the next coordinator goes on with it.
    """
    states = _listed(settings)
    rows = [
        (
            one.job, one.state, one.name, *stage_counts(one), _took(one), one.node,
            time.strftime("%H:%M:%S", time.localtime(one.submitted_at)),
        )
        for one in states
    ]  # fmt: skip
    columns = ("JOB", "STATE", "NAME", "MAP", "REDUCE", "TOOK", "NODE", "SUBMITTED")
    output.show(settings, [job_document(one) for one in states], columns, rows)
    if states.silent:
        output.advise(
            settings,
            f"{', '.join(states.silent)} did not answer, so jobs coordinated there are OPEN or missing here;"
            " `ringmill cluster status` shows the state of each node",
        )
    if states.open_jobs:
        output.note(
            f"no coordinator of these jobs answers; they were not over in term {states.term}, and the next "
            f"one goes on with them: {', '.join(states.open_jobs)}"
        )
    if not states and not states.silent and settings.output != "json":
        output.note("no jobs")
        output.next_command(settings, "ringmill job run examples/wordcount.py:wordcount --input … --output …")


@click.command()
@click.option("--limit", type=click.IntRange(1), metavar="N", help="only the last N of them")
@click.option("--state", type=click.Choice(ENDED), help="only those that ended so")
@click.pass_obj
def history(settings: Settings, limit: int | None, state: str | None) -> None:
    """List the jobs that are over, newest first: how they ended, what they read and what they wrote.

    The cluster keeps the last 100 of them, in 128 KiB.  `ringmill job status`, `explain` and `counters`
    tell more of each.
    """
    found = _listed(settings)
    states = [one for one in found.over if state in (None, one.state)][:limit]
    rows = [
        (
            one.job, one.state, one.name,
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.ended_at)), _took(one),
            one.flow.records_in, size_text(one.flow.bytes_in),
            one.flow.records_out, size_text(one.flow.bytes_out), one.retried,
        )
        for one in states
    ]  # fmt: skip
    columns = (
        "JOB", "STATE", "NAME", "ENDED", "TOOK", "RECORDS IN", "BYTES IN", "RECORDS OUT", "BYTES OUT",
        "RETRIED",
    )  # fmt: skip
    output.show(settings, [history_document(one) for one in states], columns, rows)
    if found.silent and not found.term:
        output.note(f"the history could not be read; {', '.join(found.silent)} did not answer")
    if not states and settings.output != "json":
        output.note("no jobs that are over")


def _listed(settings: Settings) -> JobList:
    async def ask() -> JobList:
        async with open_client(settings) as db:
            return await db.jobs.list()

    return asyncio.run(ask())


def _took(state: JobState) -> str:
    return "-" if state.state == OPEN else f"{state.seconds:.1f} s"


@click.command()
@click.argument("job")
@click.option("--tasks", is_flag=True, help="a row a task")
@click.pass_obj
def status(settings: Settings, job: str, tasks: bool) -> None:
    """Show the state of JOB; with --tasks also its tasks, each by its attempt that counts or was the last."""
    wants_attempts = tasks or settings.output == "json"

    async def ask() -> tuple[JobState, Sequence[AttemptSummary]]:
        async with open_client(settings) as db:
            if wants_attempts:
                return await db.jobs.state_and_attempts(job)
            return await db.jobs.status(job), ()

    state, attempts = asyncio.run(ask())
    document = job_document(state)
    document["stages"] = [
        {"name": one.name, "total": one.total, "done": one.done, "running": one.running}
        for one in state.stages
    ]
    document["events"] = list(state.events)
    document["task_list"] = [
        {
            "task": one.task, "state": one.state, "attempts": one.attempts, "node": one.node,
            "last_error": one.last_error,
        }
        for one in state.tasks
    ]  # fmt: skip
    document["attempts"] = [attempt_document(each) for each in attempts]
    document["failures"] = [asdict(group) for group in state.failures]
    if state.error is not None:
        document["error"] = state.error.message
    if settings.output != "json":
        keeper = state.node or "its journal"  # nobody who answers
        output.fields(settings, {}, [*job_fields(state), ("name", state.name), ("kept by", keeper)])
        for line in failure_lines(state.failures):
            print(printable(line, keep="\n\t"))
        for event in state.events:
            print(printable(f"  {event}", keep="\n\t"))
        if state.error is not None:
            print(printable(f"  {state.error.message}", keep="\n\t"))
    if state.is_of_journal:
        output.note(journal_note(job))
    if wants_attempts:
        columns = ("TASK", "STATE", "ATTEMPTS", "NODE", "TOOK", "IN", "OUT", "MEMORY", "LAST ERROR")
        output.show(settings, document, columns, task_rows(state, attempts))


@click.command()
@click.argument("job")
@click.option("--task", default="", metavar="TASK", help='only this task, for example "map-3"')
@click.option("--all", "shows_all", is_flag=True, help="each attempt by itself")
@click.pass_obj
def logs(settings: Settings, job: str, task: str, shows_all: bool) -> None:
    """Show what the attempts of JOB printed; each begins with a line that names task, attempt and node.

    Attempts that printed the same, and ended alike, are shown once, with how many they are.
    """

    async def ask() -> Sequence[TaskLog]:
        async with open_client(settings) as db:
            return await db.jobs.logs(job, task=task)

    found = asyncio.run(ask())
    if settings.output == "json":
        document = [
            {
                "task": one.task, "attempt": one.attempt, "node": one.node, "cause": one.cause,
                **json_bytes("output", one.output),
            }
            for one in found
        ]  # fmt: skip
        output.show(settings, document, (), ())
        return
    groups = [[one] for one in found] if task or shows_all else _alike(found)
    for first, *others in groups:
        cause = f"  {first.cause}" if first.cause else ""
        count = f"{len(others) + 1} attempts, first: " if others else ""
        print(printable(f"{count}{first.task} attempt {first.attempt} on {first.node}{cause}", keep="\n\t"))
        for line in first.output.decode("utf-8", "replace").splitlines():
            print(printable(f"  {line}", keep="\t"))


def _alike(found: Sequence[TaskLog]) -> list[list[TaskLog]]:
    """Attempts that printed the same and ended by the same cause, in the order of the first of each."""
    groups: dict[tuple[bytes, str], list[TaskLog]] = {}
    for one in found:
        groups.setdefault((one.output, one.cause), []).append(one)
    return list(groups.values())
