"""`ringmill doctor`: what is wrong with a cluster, and what to do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client, tls_of_settings
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.suggested_commands import as_typed
from ringmill.client.local.local_state import load_cluster
from ringmill.cluster.adapters.own_version import own_code
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from ringmill.client.doctor.finding import Finding

__all__ = ["doctor"]

_MARKS: Final = {"ok": ("ok", "green"), "warning": ("!", "yellow"), "wrong": ("x", "red")}


@click.command()
@click.pass_obj
def doctor(settings: Settings) -> ExitCode:
    """Check a cluster and this machine, one line a check: ok, ! for a warning, x for what is wrong.

    Exits with 7 when something is wrong.  A line that is not ok says what to do.  Nothing is changed.
    """
    from ringmill.client.doctor.finding import is_wrong

    findings = [*_of_cluster(settings), *_of_machine(settings)]
    if settings.output == "json":
        document = {"wrong": is_wrong(findings), "findings": [each.to_dict() for each in findings]}
        output.show(settings, document, (), ())
    else:
        _print(settings, findings)
    return ExitCode.UNHEALTHY if is_wrong(findings) else ExitCode.DONE


def _of_cluster(settings: Settings) -> list[Finding]:
    """What nodes tell; one finding when none answers.  Raises Unavailable when there is none to ask."""
    from ringmill.client.connection import cluster_token_of
    from ringmill.client.doctor.cluster_checks import check_cluster
    from ringmill.client.doctor.cluster_facts import ClusterFacts, ask_cluster
    from ringmill.client.doctor.finding import bad

    has_tls, is_local = tls_of_settings(settings) is not None, not settings.endpoints

    async def ask() -> ClusterFacts:
        async with open_client(settings) as db:
            has_token = bool(cluster_token_of(db))  # it may be one that it has found by the addresses
            return await ask_cluster(
                db,
                version=version("ringmill"),
                code=own_code(),
                has_token=has_token,
                has_tls=has_tls,
                is_local=is_local,
            )

    try:
        facts = asyncio.run(ask())
    except RingmillError as error:
        if not settings.endpoints and load_cluster(settings.cluster_folder) is None:
            raise
        remedy = error.hint or ("ringmill cluster up" if is_local else "start the nodes")
        return [bad("nodes", error.message, remedy)]
    return list(check_cluster(facts, time.time()))


def _of_machine(settings: Settings) -> Iterator[Finding]:
    """The findings about this machine; none for nodes that are named by --endpoints: they may be anywhere."""
    cluster = None if settings.endpoints else load_cluster(settings.cluster_folder)
    if cluster is not None:
        from ringmill.client.doctor.machine_checks import check_machine
        from ringmill.client.local.machine_facts import machine_facts

        yield from check_machine(machine_facts(cluster))


def _print(settings: Settings, findings: Sequence[Finding]) -> None:
    width = max(len(each.check) for each in findings)
    for each in findings:
        mark, color = _MARKS[each.verdict]
        remedy = as_typed(each.remedy, settings)
        if not settings.is_terminal:
            print("\t".join((mark, each.check, output.text_of(each.told.encode()), remedy)))
            continue
        print(f"{output.paint(settings, f'{mark:2}', color)}  {each.check:{width}}  {printable(each.told)}")
        if remedy:
            print(f"    {'':{width}}  do: {printable(remedy)}")
