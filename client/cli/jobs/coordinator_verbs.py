"""`ringmill coordinator status` and `handover`."""

from __future__ import annotations

import asyncio
import time

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.jobs.job_values import CoordinatorState

__all__ = ["coordinator_status", "handover"]


@click.command("status")
@click.pass_obj
def coordinator_status(settings: Settings) -> None:
    """Show which node coordinates jobs, under which term, and the jobs that are not over.

    Nobody does while there is no job.
    """

    async def ask() -> CoordinatorState:
        async with open_client(settings) as db:
            return await db.jobs.coordinator()

    _show(settings, asyncio.run(ask()))


@click.command()
@click.pass_obj
def handover(settings: Settings) -> None:
    """Have another node coordinate jobs, such as before a stop.  Running tasks go on."""

    async def ask() -> tuple[CoordinatorState, float]:
        async with open_client(settings) as db:
            began = time.monotonic()
            return await db.jobs.handover(), time.monotonic() - began

    state, seconds = asyncio.run(ask())
    _show(settings, state, seconds)


def _show(settings: Settings, state: CoordinatorState, seconds: float | None = None) -> None:
    document: dict[str, object] = {
        "node": state.node or None, "term": state.term, "open_jobs": list(state.open_jobs),
    }  # fmt: skip
    rows: list[tuple[str, object]] = [
        ("coordinator", state.node or "nobody: there is no job"),
        ("term", state.term),
        ("open jobs", ", ".join(state.open_jobs) or "none"),
    ]
    if seconds is not None:
        document["seconds"] = round(seconds, 3)
        rows.append(("took", f"{seconds:.2f} s"))
    output.fields(settings, document, rows)
