"""`ringmill job run`."""

from __future__ import annotations

import asyncio

import click

from ringmill.client.cli.frame import output as forms
from ringmill.client.cli.frame.connecting import open_client
from ringmill.client.cli.frame.settings import Settings
from ringmill.client.cli.jobs.job_follow import say_it_goes_on, show_end, watched
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_REDUCERS

__all__ = ["run"]


@click.command()
@click.argument("target", metavar="MODULE.py:NAME")
@click.option(
    "--input", "inputs", multiple=True, required=True, metavar="PATH", help="file, folder or glob to read"
)
@click.option(
    "--output",
    "output",
    required=True,
    metavar="FOLDER",
    help="folder to write; it appears complete or not at all",
)
@click.option(
    "--reducers", type=click.IntRange(1, MAX_REDUCERS), help="number of reduce tasks and part files"
)
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="parameter, read by the job as ctx.params"
)
@click.option("--overwrite", is_flag=True, help="replace the output folder if it exists")
@click.option("--detach", is_flag=True, help="do not wait; print the job's id for `job follow`")
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

    Exits with 0 when it succeeded, 1 when it failed, 9 when it was killed.
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
            return await watched(settings, db, submitted)

    try:
        last = asyncio.run(follow())
    except KeyboardInterrupt:
        if submitted:
            say_it_goes_on(settings, submitted)
        else:
            forms.advise(settings, "the cluster may or may not have accepted the job: see ringmill job list")
        raise
    if last is None:
        forms.fields(settings, {"job": submitted, "state": "PENDING"}, [("job", submitted)])
        forms.next_command(settings, f"ringmill job follow {submitted}", f"ringmill job kill {submitted}")
        return
    show_end(settings, last)


def _parameters(texts: tuple[str, ...]) -> dict[str, str]:
    parameters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidArgument(
                f"--param {text!r} is not NAME=VALUE", hint="--param word=error, for example"
            )
        parameters[name] = value
    return parameters
