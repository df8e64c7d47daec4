"""Plans a job's keyspaces: checks that they are there and suit, and cuts the input into splits.

A split is some neighbouring partitions, in ring order.  How many follows from the data alone: as hashes
spread keys evenly, a sample of partitions tells about how many bytes each holds, and the size aimed at is
that of files (cluster/mapreduce/files/splits.py).  A partition is not cut.

See: docs/formats/job.md, "Splits".  Rule J15: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of
from ringmill.cluster.mapreduce.api.chains.stages import START
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.keyspace_records import encode_records
from ringmill.cluster.mapreduce.files.splits import (
    SPLIT_SIZES,
    PartitionSpan,
    Split,
    check_slices,
    split_bytes,
)
from ringmill.cluster.ring.hashing import hash_tag, partition_of, position
from ringmill.cluster.ring.keyspaces.generations import check_may_be_replaced
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.node.contracts import KeyspaceAccess
from ringmill.node.jobs.keyspaces.kept_snapshot import snapshot_name

__all__ = ["all_splits", "keyspace_splits", "output_id"]

SAMPLE: Final = 8
"""Partitions that are looked at.  Chosen, not measured."""
MOST_PAGES: Final = 2
PATIENCE_S: Final = 2.0
_POLICIES: Final = ("siblings", "lww")


async def output_id(spec: JobSpec, keyspaces: KeyspaceAccess) -> str:
    """Of the keyspace that is to have the job's output, as JobSpec has it; "" for a folder.

    Raises InvalidArgument when the output cannot be put there; Unavailable.
    """
    if not spec.output_keyspace:
        return ""
    if spec.replaces:
        check_may_be_replaced(spec.output_keyspace)
    keyspace, _ = await keyspaces.find(spec.output_keyspace)
    if keyspace.policy not in _POLICIES:
        raise InvalidArgument(
            f"keyspace {keyspace.name!r} has policy {keyspace.policy}; a job puts whole values, into one of "
            f"policy {' or '.join(_POLICIES)}"
        )
    return f"{keyspace.id.epoch}.{keyspace.id.ordinal}"


async def keyspace_splits(spec: JobSpec, keyspaces: KeyspaceAccess) -> tuple[Split, ...]:
    """The splits of the keyspaces that a job reads, source by source; none for a job that reads files.

    Those of a co-partitioned join have the same partitions of both.  For a job that reads a snapshot this is
    the moment that it shows.  Raises InvalidArgument for a keyspace that is not there or holds registers, and
    for too many splits times reducers; QuorumNotReached, Unavailable.
    """
    found = [
        await _looked_at(source, path, spec.level_of(source), keyspaces)
        for source, path in enumerate(spec.keyspaces)
        if path is not None
    ]
    if not found:
        return ()
    sizes = SPLIT_SIZES.pinned(spec.split_bytes)
    target = split_bytes(sum(each.size for each in found), sizes)
    together = spec.join_by == "copartitioned"
    groups = [found] if together else [[each] for each in found]
    cuts = [(group, _cut(group, target)) for group in groups]
    check_slices(sum(len(cut) for _, cut in cuts), stage_of(spec, START).partitions)
    name, at_ms = snapshot_name(spec), 0
    if name:
        held = next(each for each in found if spec.level_of(each.source) == "snapshot")
        at_ms = await keyspaces.hold_snapshot(name, held.keyspace)
    splits: list[Split] = []
    for group, cut in cuts:
        for first, last in cut:
            spans = [
                each.span(first, last, *((name, at_ms) if spec.level_of(each.source) == "snapshot" else ()))
                for each in group
            ]
            span, beside = spans if len(spans) > 1 else (spans[0], None)
            splits.append(Split(len(splits), (), source=group[0].source, span=span, beside=beside))
    return _numbered(splits)


def all_splits(spec: JobSpec, of_files: Sequence[Split], of_keyspaces: Sequence[Split]) -> tuple[Split, ...]:
    """Those of a job that may read both, in the order of its sources.

    Raises InvalidArgument for too many splits times reducers.
    """
    if not (of_files and of_keyspaces):  # who has cut them has counted them, too
        return *of_files, *of_keyspaces
    check_slices(len(of_files) + len(of_keyspaces), stage_of(spec, START).partitions)
    return _numbered((*of_files, *of_keyspaces))


def _numbered(splits: Iterable[Split]) -> tuple[Split, ...]:
    in_order = sorted(splits, key=lambda split: split.source)
    return tuple(replace(each, index=at, splits=len(in_order)) for at, each in enumerate(in_order))


class _Looked(NamedTuple):
    """A keyspace that is read: what of it, and about how many bytes a partition holds."""

    source: int
    keyspace: KeyspaceEntry
    partitions: range
    each: int
    is_whole: bool  # the partitions that were looked at were read whole

    @property
    def size(self) -> int:
        return self.each * len(self.partitions)

    def span(self, first: int, last: int, snapshot: str = "", at_ms: int = 0) -> PartitionSpan:
        id = self.keyspace.id
        return PartitionSpan(
            first, last, self.each * (last - first + 1), (id.epoch, id.ordinal), snapshot, at_ms
        )


def _cut(group: Sequence[_Looked], target: int) -> list[tuple[int, int]]:
    """First and last partition of each split, equally many in each."""
    every = range(min(each.partitions.start for each in group), max(each.partitions.stop for each in group))
    size = max(1, sum(each.each for each in group))
    width = max(1, target // size) if all(each.is_whole for each in group) else 1
    return [(first, min(first + width - 1, every[-1])) for first in every[::width]]


async def _looked_at(number: int, source: KeyspacePath, level: str, keyspaces: KeyspaceAccess) -> _Looked:
    keyspace, partitions = await keyspaces.find(source.keyspace)
    if hash_tag(source.prefix) is not None:  # all such keys lie in one partition
        only = partition_of(position(keyspace.id, source.prefix), len(partitions))
        partitions = range(only, only + 1)
    each, is_whole = await _size_of_one(
        source, (keyspace.id.epoch, keyspace.id.ordinal), partitions, level, keyspaces
    )
    return _Looked(number, keyspace, partitions, each, is_whole)


async def _size_of_one(
    source: KeyspacePath,
    keyspace: tuple[int, int],
    partitions: range,
    level: str,
    keyspaces: KeyspaceAccess,
) -> tuple[int, bool]:
    """About how many bytes a partition holds, and whether those that were looked at were read whole."""
    step = max(1, len(partitions) // SAMPLE)
    looked_at, size, is_whole = 0, 0, True
    for partition in partitions[::step]:
        looked_at += 1
        span, pages = PartitionSpan(partition, partition, 0, keyspace), 0
        async with aclosing(keyspaces.read(source, span, level, PATIENCE_S)) as read:
            async for page in read:
                if pages == MOST_PAGES:
                    is_whole = False
                    break
                size += len(encode_records(page))
                pages += 1
    return size // looked_at, is_whole
