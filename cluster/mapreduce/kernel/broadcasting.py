"""Side data and broadcast joins: files that every task of a job reads beside its own input.

Planning noted their sizes and modification times; a task that finds others fails and names the file, as it
does for its input.

I/O only through the FileSystem passed in.  Rule J20: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.api.branches import columns_of
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.joining.join_steps import JoinedMap, row_codec, rows_of
from ringmill.cluster.mapreduce.api.sources import Branch
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.calls import pairs_over
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.codecs.codecs import KeyCodec, key_codec
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import classify, not_pairs
from ringmill.cluster.mapreduce.files.input_plan import source_key
from ringmill.cluster.mapreduce.files.readers import SplitReader, open_unchanged
from ringmill.cluster.mapreduce.files.splits import Piece, Split
from ringmill.cluster.mapreduce.kernel.hashed.row_files import as_hashed
from ringmill.cluster.ports import FileSystem

__all__ = ["as_planned", "broadcast_form", "check_side_data"]

Partners: TypeAlias = dict[Any, list[Any]]

_BROADCAST: Final = "broadcast"


def check_side_data(spec: JobSpec, files: FileSystem) -> None:
    """Raises TaskFailed for a file of side data that has changed since the job was planned; OSError."""
    for name in spec.side:
        for file in spec.noted[name]:
            open_unchanged(file, files).close()


def as_planned(job: JobDefinition, spec: JobSpec, files: FileSystem, source: int) -> JobDefinition:
    """The job as a map task of that source runs it: of a broadcast join with all rows of the other source, of
    a join by hash with rows that leave as they are.

    Raises TaskFailed for what the map of the other source raises, or a file that changed; OSError.
    """
    small, joining = spec.broadcast_source, job.joining
    if small is None or joining is None:
        return as_hashed(job, source) if spec.join_by == "hash" else job.of_source(source)
    big = joining.sides[source]  # no task has a split of the small one
    keys = key_codec(big.signature.out_key, big.signature.where)
    partners = _partners(job, spec, files, keys, small)
    return replace(
        broadcast_form(job.of_source(source)),
        map=JoinedMap(joining, source, partners, keys, row_codec(big)),
        map_signature=replace(
            joining.result_signature,
            first=big.signature.first,
            second=big.signature.second,
            wants_context=True,
        ),
    )


def broadcast_form(job: JobDefinition) -> JobDefinition:
    """A join whose map tasks write the output, in the order of their input."""
    return replace(job, order="input", reduce=None, group_by=0)


def _partners(job: JobDefinition, spec: JobSpec, files: FileSystem, keys: KeyCodec, source: int) -> Partners:
    known, kept = spec.encode(), job.kept
    partners: Partners | None = kept.get(known)
    if partners is None:
        partners = _read_partners(job, spec, files, keys, source)
        kept.clear()  # another thread may run the same job on other files
        kept[known] = partners
    return partners


def _read_partners(
    job: JobDefinition, spec: JobSpec, files: FileSystem, keys: KeyCodec, source: int
) -> Partners:
    assert job.joining is not None
    branch = job.joining.sides[source]
    name, format, _ = spec.sources[source]
    noted = spec.noted[source_key(name, spec.side)]
    pieces = tuple(Piece(file, 0, file.size) for file in noted if file.size or format == "file")
    context = Context(_BROADCAST, TaskRandom(f"{spec.seed}/{_BROADCAST}"), dict(spec.params))
    signature = branch.signature
    reader = SplitReader(
        Split(0, pieces), format, signature.second,
        files=files, context=context, columns=columns_of(branch.input), key_hint=signature.first,
        where=signature.where,
    )  # fmt: skip
    partners: defaultdict[Any, list[Any]] = defaultdict(list)
    as_received = row_codec(branch).as_received
    try:
        for key, row in _rows(branch, reader, context):
            partners[key if type(key) is keys.plain else keys.encode(key)].append(as_received(row))
    except (TypeError, ValueError) as error:
        told = not_pairs(error, "map", signature.where)
        raise classify(told, job.user_files, reader.position, reader.record) from error
    except Exception as error:
        raise classify(error, job.user_files, reader.position, reader.record) from error
    return dict(partners)


def _rows(branch: Branch, reader: SplitReader, context: Context) -> Iterator[tuple[Any, Any]]:
    signature = branch.signature
    if not branch.is_batch:
        records = chain.from_iterable(reader.records())
        return pairs_over(branch.map, records, context, wants_context=signature.wants_context)
    given = {"ctx": context} if signature.wants_context else {}
    batches: Iterable[tuple[Any, ...]] = reader.batches(signature.second)
    if signature.first is None:
        batches = ((batch,) for _, batch in batches)
    return chain.from_iterable(rows_of(branch, batch, given) for batch in batches)
