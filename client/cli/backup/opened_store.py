"""What the verbs on backups share: the place that was typed, the rate, and the progress on stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import click

from ringmill.client.backups.backup_progress import BackupProgress, BytePace
from ringmill.client.backups.backup_store import BackupStore
from ringmill.client.cli.console.amounts import amount_of
from ringmill.client.cli.console.progress_bar import Bar
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.file_urls import input_of, is_of_one_process, is_url

__all__ = ["moment", "opened_store", "place_argument", "rate_option", "backup_bar", "pace_of"]

place_argument = click.argument("place", metavar="URL")
rate_option = click.option(
    "--rate", metavar="SIZE", help='bytes a second that are copied at most, as in "20MiB"  [no limit]'
)


@contextmanager
def opened_store(place: str) -> Iterator[BackupStore]:
    """A path, file:///PATH, or a URL for which fsspec has what it needs.  Raises InvalidArgument."""
    if is_of_one_process(place):
        raise InvalidArgument(
            f"URL {place[:200]!r} lies in the memory of this command, and would end with it",
            hint="name a folder, or the URL of a store",
        )
    found = input_of("URL", place)
    if not found.strip("/"):
        raise InvalidArgument("URL names no folder", hint="file:///backups/cluster, for example")
    with closing(UrlFiles()) as files:
        path = found.rstrip("/") if is_url(found) else os.path.abspath(found)
        yield BackupStore(files, path, OsEntropy())


def pace_of(rate: str | None) -> BytePace:
    """Raises InvalidArgument."""
    return BytePace(amount_of("--rate", rate, "20MiB") if rate else 0.0)


@contextmanager
def backup_bar(doing: str, most_bytes: int = 0) -> Iterator[BackupProgress]:
    """Progress that a bar on stderr shows, in partitions of a restore, else in KiB; with `most_bytes` 0 the
    whole is known when it begins."""
    bar: list[Bar] = []

    def show(progress: BackupProgress) -> None:
        what, most, done = "KiB", (most_bytes or progress.total_bytes) >> 10, progress.done_bytes >> 10
        if progress.tables:
            what = f"KiB of {progress.tables} tables"
        if progress.partitions:
            what, most, done = "partitions", progress.partitions, progress.partition
        if not bar:
            bar.append(Bar(what, most, doing))
        bar[0].show(done)

    try:
        yield BackupProgress(show)
    finally:
        for each in bar:
            each.end()


def moment(ms: int) -> str:
    """Milliseconds since 1970 for people."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
