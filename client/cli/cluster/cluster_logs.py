"""`ringmill cluster logs`: the logs of the nodes of a local cluster."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final

import click

from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.client.local import local_cluster, log_files
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.logs.record_filter import LEVELS, RecordFilter

__all__ = ["logs"]

_LAST_LINES: Final = 20
_DATE: Final = re.compile(r"\d{8}", re.ASCII)


@click.command()
@click.argument("nodes", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="keep printing new lines until Ctrl-C")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    help=f"number of last lines to show for each node  [{_LAST_LINES}, or all with --since]",
)
@click.option("--since", metavar="TIME", help='records since a time: 10m (before now) or "2026-11-30 18:05"')
@click.option(
    "--level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="records of this level and above  [info]",
)
@pass_local
def logs(
    settings: Settings,
    nodes: tuple[str, ...],
    follow: bool,
    lines: int | None,
    since: str | None,
    level: str | None,
) -> None:
    """Show the logs of the named nodes, or of all; each line begins with its node.

    What a process prints apart from its records, such as the trace of a crash, is shown at each --level; its
    time is that of the record before it.  With -o json and --follow each line is a document of its own.
    """
    begin = None if since is None else _moment(since)
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    paths = {node.id: cluster.log_path(node) for node in cluster.chosen(nodes)}
    most = lines if lines is not None or since is not None else _LAST_LINES
    # all are opened before the first line is printed, so that nothing is missed meanwhile
    followed = {name: log_files.FollowedLog(path) for name, path in paths.items()}
    filters = {name: RecordFilter(begin, level) for name in paths}

    def last(name: str) -> Iterable[str]:
        if most is not None and begin is None and level is None:
            return followed[name].last_lines(most) if follow else log_files.tail(paths[name], most)
        found = filter(filters[name].shows, followed[name].earlier_lines(begin, is_whole=follow))
        return found if most is None else deque(found, maxlen=most)

    def show(name: str, line: str) -> None:
        if filters[name].shows(line):
            _print_line(settings, name, line)

    found = ((name, line) for name in paths for line in last(name))
    if settings.output == "json" and not follow:
        output.show(settings, [{"node": name, "line": line} for name, line in found], (), ())
        return
    for name, line in found:
        _print_line(settings, name, line)
    if follow:
        for each in filters.values():
            each.show_what_comes()
        log_files.follow_files(followed, show)


def _moment(text: str) -> datetime:
    """The time of --since: a span before now, or a date and time, of this machine's zone if it names none."""
    if not _DATE.fullmatch(text):  # which are seconds, too
        with suppress(InvalidArgument):
            return datetime.fromtimestamp(time.time() - seconds(text)).astimezone()
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(
            f"--since {text[:40]!r} is neither a time span nor a date and time",
            hint='write --since 10m, --since 2026-11-30T18:05:00Z, or --since "2026-11-30 18:05"',
        ) from error


def _print_line(settings: Settings, name: str, line: str) -> None:
    """A line of a log; in JSON a document of its own."""
    if settings.output == "json":
        print(output.to_json({"node": name, "line": line}, sys.stdout), flush=True)
    else:
        print(f"{name}\t{line}", flush=True)
