"""Fetches the input of a map attempt from a keyspace into a file of the attempt's folder.

A task process loads no gRPC and may hold no connection, so its node reads for it, page by page, and the
process starts when the file is whole.  One page is in memory at a time, and an attempt that is cancelled ends
the scan.  Decision: docs/decisions/a-node-reads-keyspaces-for-its-tasks.md.  Rule J15: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from ringmill.cluster.errors import NotFound, RingmillError
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
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
    source: KeyspacePath,
    level: str,
    folder: str,
    *,
    keyspaces: KeyspaceAccess,
    files: FileSystem,
    arrived: Callable[[int], None],
) -> Split:
    """The split with a file in place of its partitions.  `arrived` hears of each page's bytes.

    Raises TaskFailed; OSError.
    """
    assert split.span is not None, "a split of a keyspace has partitions"
    path = f"{folder}/kv:{source.keyspace}"  # its name is shown as the place of a record
    file = files.create(path)
    try:
        async with aclosing(keyspaces.read(source, split.span, level, PATIENCE_S)) as pages:
            size = await _filled(files, file, pages, arrived)
    except NotFound as error:
        raise TaskFailed(Cause.INPUT_CHANGED, f"input {source}: {error}") from error
    except RingmillError as error:
        raise TaskFailed(Cause.FETCH_FAILED, f"input {source} cannot be read: {error}") from error
    finally:
        file.close()
    marked = InputFile(path, size, files.mtime_ns(path))
    return replace(split, pieces=(Piece(marked, 0, size),), span=None)


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
