"""Fetches the input of a map attempt from a keyspace into a file of the attempt's folder.

A task process loads no gRPC and may hold no connection, so its node reads for it, page by page, and the
process starts when the file is whole.  One page is in memory at a time, and an attempt that is cancelled ends
the scan.  Decision: docs/decisions/a-node-reads-keyspaces-for-its-tasks.md.  Rule J15: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from ringmill.cluster.errors import NotFound, RingmillError
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.keyspace_records import Content, encode_records
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split
from ringmill.cluster.ports import AppendFile, FileSystem
from ringmill.node.compute.whole_appends import append_off_loop
from ringmill.node.contracts import KeyspaceAccess

__all__ = ["spooled"]

PATIENCE_S: Final = 20.0
"""With owners that do not answer, before the attempt fails.  Chosen, not measured."""


async def spooled(
    split: Split,
    spec: JobSpec,
    folder: str,
    *,
    keyspaces: KeyspaceAccess,
    files: FileSystem,
    arrived: Callable[[int], None],
) -> Split:
    """The split with a file in place of its partitions, of a co-partitioned join with one of each side.

    `arrived` hears of each page's bytes.  Raises TaskFailed; OSError.
    """
    pieces: list[Piece] = []
    for number, span in enumerate((split.span, split.beside)):
        if span is not None:
            side = split.source + number
            source = spec.keyspaces[side]
            assert source is not None, "a split with partitions is of a keyspace"
            # its name is shown as the place of a record
            path = f"{folder}/kv:{source.keyspace}" if not number else f"{folder}/beside/kv:{source.keyspace}"
            files.mkdir(path.rpartition("/")[0])
            pages = keyspaces.read(source, span, spec.level_of(side), PATIENCE_S)
            size = await _spool(path, source, pages, files, arrived)
            pieces.append(Piece(InputFile(path, size, files.mtime_ns(path)), 0, size))
    return replace(split, pieces=tuple(pieces), span=None, beside=None)


async def _spool(
    path: str,
    source: KeyspacePath,
    read: AsyncGenerator[Sequence[tuple[bytes, Content]], None],
    files: FileSystem,
    arrived: Callable[[int], None],
) -> int:
    file = files.create(path)
    try:
        async with aclosing(read) as pages:
            return await _filled(files, file, pages, arrived)
    except NotFound as error:
        raise TaskFailed(Cause.INPUT_CHANGED, f"input {source}: {error}") from error
    except RingmillError as error:
        raise TaskFailed(Cause.FETCH_FAILED, f"input {source} cannot be read: {error}") from error
    finally:
        file.close()


async def _filled(
    files: FileSystem,
    file: AppendFile,
    pages: AsyncIterator[Sequence[tuple[bytes, Content]]],
    arrived: Callable[[int], None],
) -> int:
    size = 0
    async for page in pages:
        data = encode_records(page)
        await append_off_loop(files, file, data)
        size += len(data)
        arrived(len(data))
    return size
