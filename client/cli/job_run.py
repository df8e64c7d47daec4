"""`ringmill job run`."""

from __future__ import annotations

import asyncio

import click

from client.cli import output as forms
from client.cli.connecting import open_client
from client.cli.job_document import job_document
from client.cli.job_progress import progress
from client.cli.settings import Settings
from client.job_values import JobState
from cluster.errors import InvalidArgument

__all__ = ["run"]


@click.command()
@click.argument("target", metavar="MODULE.py:NAME")
@click.option("--input", "inputs", multiple=True, required=True, metavar="PATH", help="file, folder or glob")
@click.option(
    "--output", "output", required=True, metavar="FOLDER", help="made by the job, whole or not at all"
)
@click.option("--reducers", type=click.IntRange(1, 4096), help="part files that come out")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="a parameter of the job")
@click.option("--overwrite", is_flag=True, help="replace an output folder that exists")
@click.option("--detach", is_flag=True, help="do not wait for the end")
@click.pass_obj
def run(
    settings: Settings,
    target: str,
    inputs: tuple[str, ...],
    output: str,
    reducers: int | None,
    params: tuple[str, ...],
    overwrite: bool,
    detach: bool,
) -> None:
    """Run the job NAME of MODULE.py on the cluster, and wait for its end.

    Exits 0 when it succeeded, 1 when it failed, 9 when it was killed.
    """
    given = _parameters(params)
    submitted = ""

    async def follow() -> JobState | None:
        nonlocal submitted
        async with open_client(settings) as db:
            submitted = await db.jobs.submit(
                target, input=inputs, output=output, reducers=reducers, params=given, overwrite=overwrite
            )
            if detach:
                return None
            forms.note(f"job {submitted}: {target}")
            with progress(settings) as show:
                async for state in db.jobs.watch(submitted):
                    show(state)
            return state

    try:
        last = asyncio.run(follow())
    except KeyboardInterrupt:
        if submitted:
            forms.note(f"job {submitted} goes on without you; stop it with: ringmill job kill {submitted}")
        raise
    if last is None:
        forms.fields(settings, {"job": submitted, "state": "PENDING"}, [("job", submitted)])
        forms.next_command(settings, f"ringmill job status {submitted}", f"ringmill job logs {submitted}")
        return
    _tell(settings, last)


def _tell(settings: Settings, last: JobState) -> None:
    if settings.output == "json":
        forms.show(settings, job_document(last), (), ())
    elif last.state == "SUCCEEDED":
        done, tasks = f"{last.seconds:.1f} s", job_document(last)["tasks"]
        forms.fields(
            settings,
            {},
            [
                ("job", last.job),
                ("state", last.state),
                ("output", last.output),
                ("took", done),
                ("tasks", f"{tasks['map']} map, {tasks['reduce']} reduce, {tasks['retried']} retried"),
                ("records", ", ".join(f"{name} {count}" for name, count in last.records.items())),
                *((f"counter {name}", count) for name, count in sorted(last.counters.items())),
            ],
        )
        forms.next_command(settings, f"head {last.output}/part-00000", f"ringmill job status {last.job}")
    last.raise_unless_succeeded()


def _parameters(texts: tuple[str, ...]) -> dict[str, str]:
    parameters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"--param {text!r} is not NAME=VALUE")
        parameters[name] = value
    return parameters
