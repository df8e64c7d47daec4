"""`ringmill job estimate`: how long a job will take, from a sample that is run here."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict

import click

from ringmill.client.cli.console import output as forms
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.standard_streams import prints_on_stderr
from ringmill.client.cli.jobs.job_arguments import job_arguments_of, named_texts
from ringmill.client.cli.jobs.job_here import job_here
from ringmill.client.jobs.estimate_job import MOST_SLOTS, estimate_job
from ringmill.client.local.tcp_ports import is_loopback
from ringmill.cluster.adapters.machine_name import own_cores

__all__ = ["estimate"]

_MB = 1_000_000


@click.command()
@job_arguments_of("target", "inputs", "reducers", "split_mib", "params", "side", "on_bad_record")
@click.option(
    "--nodes", type=click.IntRange(1, MOST_SLOTS), metavar="N",
    help="for N nodes like this machine, which need not exist; else for those of the cluster that are up",
)  # fmt: skip
@click.option(
    "--slots", type=click.IntRange(1, 64), default=1, show_default=True,
    help="tasks at a time of a node, as it was started",
)  # fmt: skip
@click.pass_obj
def estimate(
    settings: Settings,
    target: str,
    inputs: tuple[str, ...],
    reducers: int | None,
    split_mib: int | None,
    params: tuple[str, ...],
    side: tuple[str, ...],
    on_bad_record: str | None,
    nodes: int | None,
    slots: int,
) -> None:
    """Estimate how long the job NAME of MODULE.py will take.

    Up to three maps and a part of one reduce are run on this machine; nothing is left of them.
    """
    given, paths = named_texts("--param", params), named_texts("--side", side)
    with prints_on_stderr():
        loaded = job_here(target)
    addresses = [] if nodes else asyncio.run(_up(settings))
    with prints_on_stderr():
        found = estimate_job(
            loaded.definition, inputs, nodes=nodes or len(addresses), slots=slots,
            cores=own_cores() if addresses and all(map(_is_here, addresses)) else None,
            reducers=reducers, params=given, split_mib=split_mib, side=paths, on_bad_record=on_bad_record,
            scratch=tempfile.gettempdir(),
        )  # fmt: skip
    rows: list[tuple[str, object]] = [
        ("takes", f"probably {_rounded(found.seconds)} s"),
        ("between", f"{_rounded(found.least_s)} and {_rounded(found.most_s)} s"),
        ("tasks at a time", found.at_once),
        ("maps", f"{found.maps}, {_rounded(found.map_s)} s"),
        ("reduces", f"{found.reduces}, {_rounded(found.reduce_s)} s"),
        ("input", f"{found.input_bytes / _MB:,.1f} MB"),
        ("shuffle", f"{found.shuffle_bytes / _MB:,.1f} MB"),
        ("output", f"{found.output_bytes / _MB:,.1f} MB"),
        ("sample", f"{found.sampled} maps, {found.sampled_bytes / _MB:,.1f} MB, {found.spent_s:.1f} s"),
    ]
    forms.fields(settings, {name: _exact(value) for name, value in asdict(found).items()}, rows)


async def _up(settings: Settings) -> list[str]:
    """The addresses of the nodes that are up."""
    async with open_client(settings) as db:
        return [node.address for node in (await db.status()).nodes if node.state != "down"]


def _is_here(address: str) -> bool:
    """Whether a node shares this machine with the others."""
    return is_loopback(address.rpartition(":")[0])


def _rounded(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _exact(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value
