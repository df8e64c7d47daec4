"""Checks what a job reads: whether its map takes what the format of its input gives.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.batches import check_batch, check_columns
from ringmill.cluster.mapreduce.api.commands import ExternalCommand, check_command_input
from ringmill.cluster.mapreduce.api.formats import FileInput
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, check_kv_map
from ringmill.cluster.mapreduce.api.sources import Branch, Source, check_sources, with_common_types
from ringmill.cluster.mapreduce.codecs.record_forms import RECORD_FORMS, form_of
from ringmill.cluster.mapreduce.codecs.signatures import (
    Signature,
    fits,
    name_of,
    read_batch_signature,
    read_signature,
)
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords

__all__ = ["branch_of", "branches_of", "columns_of"]

_FIRST: Final[dict[str, Any]] = {
    "lines": int,
    "jsonl": int,
    "csv": int,
    "bytes": int,
    "raw": int,
    "file": str,
}


def branches_of(sources: Sequence[Source], lone: Source) -> tuple[Branch, ...]:
    """What the job reads, checked: `sources`, or a lone input without a name.  Raises InvalidArgument."""
    if not sources:
        return (branch_of(lone),)
    if lone != Source(""):
        raise InvalidArgument("a job has either sources or map and input: each source has its own")
    check_sources(sources)
    return with_common_types([branch_of(each) for each in sources])


def branch_of(source: Source) -> Branch:
    """The source, checked.  Raises InvalidArgument."""
    map, map_batch, input = source.map, source.map_batch, source.input or FileInput()
    if isinstance(map, ExternalCommand) and map_batch is None:
        check_command_input(map, input)
        return Branch(source.name, map, map.signature(), input, is_batch=True)
    if map is not None and map_batch is None:
        signature = read_signature(map, "map")
        _check_input(signature, input)
        check_columns(signature, columns_of(input))
        return Branch(source.name, map, signature, input, is_batch=False)
    if map_batch is None or map is not None:
        raise InvalidArgument(
            f"{f'source {source.name}' if source.name else 'a job'} needs map or map_batch, one of the two"
        )
    signature = read_batch_signature(map_batch)
    if isinstance(input, KvInput):
        raise InvalidArgument(f"map_batch {signature.where}: a keyspace is read by map, a key at a time")
    check_batch(signature, input.format)
    check_columns(signature, input.columns)
    return Branch(source.name, map_batch, signature, input, is_batch=True)


def columns_of(source: FileInput | KvInput) -> tuple[str, ...]:
    """The columns that map_batch gets; () for all, and where there are none."""
    return source.columns if isinstance(source, FileInput) else ()


def _check_input(map_signature: Signature, source: FileInput | KvInput) -> None:
    if isinstance(source, KvInput):
        check_kv_map(map_signature)
        return
    if source.format == "records":
        TypedRecords(map_signature.first, map_signature.second, map_signature.where)  # raises without a codec
        return
    if source.format not in _FIRST:
        raise InvalidArgument(f"format {source.format!r} gives batches of columns; use map_batch")
    first = _FIRST[source.format]
    if not fits(first, map_signature.first):
        raise InvalidArgument(
            f"map {map_signature.where}: format {source.format!r} gives a key of type {name_of(first)}, "
            f"map takes {name_of(map_signature.first)}"
        )
    if form_of(source.format, map_signature.second, is_batch=False) is None:
        raise InvalidArgument(
            f"map {map_signature.where}: format {source.format!r} gives a value of type "
            f"{' or '.join(map(name_of, RECORD_FORMS[source.format]))}, "
            f"map takes {name_of(map_signature.second)}"
        )
