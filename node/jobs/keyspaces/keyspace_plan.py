"""Plans a job's keyspaces: checks that they are there and suit, and cuts the input into splits.

A split is some neighbouring partitions, in ring order.  How many follows from the data alone: as hashes
spread keys evenly, a sample of partitions tells about how many bytes each holds, and the size aimed at is
that of files (cluster/mapreduce/files/splits.py).  A partition is not cut.

See: docs/formats/job.md, "Splits".  Rule J15: docs/protocol/jobs.md.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

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
from ringmill.node.contracts import KeyspaceAccess
from ringmill.node.jobs.keyspaces.kept_snapshot import snapshot_name

__all__ = ["keyspace_splits", "output_id"]

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
    """The splits of the keyspace that a job reads; none for a job that reads files.

    For a job that reads a snapshot this is the moment that it shows.  Raises InvalidArgument for a keyspace
    that is not there or holds registers, and for too many splits times reducers; QuorumNotReached,
    Unavailable.
    """
    source = spec.source
    if source is None:
        return ()
    keyspace, partitions = await keyspaces.find(source.keyspace)
    if hash_tag(source.prefix) is not None:  # all such keys lie in one partition
        only = partition_of(position(keyspace.id, source.prefix), len(partitions))
        partitions = range(only, only + 1)
    each, is_whole = await _size_of_one(
        source, (keyspace.id.epoch, keyspace.id.ordinal), partitions, spec.consistency, keyspaces
    )
    target = split_bytes(each * len(partitions), SPLIT_SIZES.pinned(spec.split_bytes))
    width = max(1, target // max(1, each)) if is_whole else 1
    firsts = partitions[::width]
    check_slices(len(firsts), stage_of(spec, START).partitions)
    name = snapshot_name(spec)
    at_ms = await keyspaces.hold_snapshot(name, keyspace) if name else 0
    spans = [
        PartitionSpan(
            first, last, each * (last - first + 1), (keyspace.id.epoch, keyspace.id.ordinal), name, at_ms
        )
        for first in firsts
        for last in (min(first + width - 1, partitions[-1]),)
    ]
    return tuple(Split(index, (), len(spans), span=span) for index, span in enumerate(spans))


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
