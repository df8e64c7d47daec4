"""`ringmill job run`."""

from __future__ import annotations

import asyncio

import click

from ringmill.client.cli.console import output as forms
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.standard_streams import prints_on_stderr
from ringmill.client.cli.jobs.job_arguments import job_arguments, named_texts
from ringmill.client.cli.jobs.job_follow import say_it_goes_on, show_end, show_until_over
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.limits import MAX_WEIGHT, TASK_MEMORY_MIB

__all__ = ["run"]


@click.command()
@job_arguments
@click.option(
    "--weight",
    type=click.IntRange(1, MAX_WEIGHT),
    default=1,
    metavar="N",
    help="slots that it gets beside other jobs, in proportion to theirs; 1 unless you say otherwise",
)
@click.option(
    "--memory",
    "task_memory_mib",
    type=click.IntRange(*TASK_MEMORY_MIB),
    metavar="MIB",
    help="that each task may use with all that it starts, in place of what the job or the nodes say (2048)",
)
@click.option("--network", is_flag=True, help="let its tasks open connections, which they may not otherwise")
@click.option("--detach", is_flag=True, help="do not wait; print the job's id for `job follow`")
@click.pass_obj
def run(
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
    weight: int,
    task_memory_mib: int | None,
    network: bool,
    detach: bool,
) -> None:
    """Run the job NAME of MODULE.py on the cluster, and wait for its end.

    Exits with 0 when it succeeded, 1 when it failed, 9 when it was killed.
    """
    given, paths = named_texts("--param", params), named_texts("--side", side)
    submitted = ""

    async def follow() -> JobState | None:
        nonlocal submitted
        async with open_client(settings) as db:
            with prints_on_stderr():  # the module is imported here, too
                submitted = await db.jobs.submit(
                    target,
                    input=inputs,
                    output=output,
                    reducers=reducers,
                    params=given,
                    overwrite=overwrite,
                    split_mib=split_mib,
                    side=paths,
                    on_bad_record=on_bad_record,
                    weight=weight,
                    network=network,
                    task_memory_mib=task_memory_mib,
                )
            if detach:
                return None
            forms.note(f"job {submitted}: {target}")
            return await show_until_over(settings, db, submitted)

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
