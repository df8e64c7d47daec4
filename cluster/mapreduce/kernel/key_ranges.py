"""The key ranges of the parts of an output in total order, from a sample of the input.

Every map task reads the same places of the input and puts them through map, so all get the same ranges
without asking anybody.  A map that is not deterministic would get others, and the parts would have no common
order; so each task marks its output with a digest of its ranges, and a reduce compares the marks.

I/O only through the FileSystem passed in.  Rule J14: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Final

import google_crc32c

from ringmill.cluster.mapreduce.api.bad_records import MOST_BAD_RECORDS
from ringmill.cluster.mapreduce.api.batches import pairs_of
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.calls import pairs_over
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import classify, not_pairs
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.kernel.set_aside import SetAside
from ringmill.cluster.ports import FileSystem

__all__ = ["key_ranges", "digest_of_ranges"]

_SAMPLE: Final = "sample"
_known: dict[tuple[bytes, Split], list[bytes]] = {}  # of the last job: a process runs many of its tasks


def key_ranges(job: JobDefinition, spec: JobSpec, split: Split, files: FileSystem) -> list[bytes]:
    """The encoded keys at which all parts but the first begin, ascending.

    Raises TaskFailed for what the job's map raises; OSError.
    """
    known = spec.encode(), Split(0, split.sample)
    ranges = _known.get(known)
    if ranges is None or not spec.bundle_sha256:  # without a bundle, a spec does not tell the code
        keys, parts = sorted(_sampled_keys(job, spec, split, files)), spec.reducers
        ranges = [keys[len(keys) * part // parts] for part in range(1, parts) if keys]
        _known.clear()  # another thread may do so, too, for another job
        _known[known] = ranges
    return ranges


def digest_of_ranges(ranges: Iterable[bytes]) -> bytes:
    """A digest of ranges."""
    crc = 0
    for key in ranges:
        crc = google_crc32c.extend(google_crc32c.extend(crc, len(key).to_bytes(4, "big")), key)
    return bytes(crc.to_bytes(4, "big"))


def _sampled_keys(job: JobDefinition, spec: JobSpec, split: Split, files: FileSystem) -> list[bytes]:
    context = Context(_SAMPLE, TaskRandom(f"{spec.seed}/{_SAMPLE}"), spec.params, side_paths=spec.side)
    sample = Split(0, split.sample)
    signature = job.map_signature
    reader = SplitReader(sample, spec.input_format, signature.second, files=files, context=context)
    try:
        if job.is_batch:
            pairs = _batch_pairs(job, reader, context)
        else:
            pairs = _pairs(job, reader, context, quarantines=spec.bad_records > 0)
        encoded = job.key_codec.encode_all([key for key, _ in pairs])
        return encoded if job.group_prefix is None else job.group_prefix.cut_all(encoded)
    except (TypeError, ValueError) as error:
        told = not_pairs(error, "map", signature.where)
        raise classify(told, job.user_files, reader.position, reader.record) from error
    except Exception as error:
        raise classify(error, job.user_files, reader.position, reader.record) from error


def _pairs(
    job: JobDefinition, reader: SplitReader, context: Context, quarantines: bool
) -> Iterator[tuple[Any, Any]]:
    """Those of bad records count for nothing here: the maps that read them set them aside."""
    records, wants_context = chain.from_iterable(reader.records()), job.map_signature.wants_context
    if not quarantines:
        return pairs_over(job.map, records, context, wants_context=wants_context)
    mapper = partial(job.map, ctx=context) if wants_context else job.map
    aside = SetAside(MOST_BAD_RECORDS, job.user_files, reader, context)
    return chain.from_iterable(aside.results_of(mapper, records))


def _batch_pairs(job: JobDefinition, reader: SplitReader, context: Context) -> Iterator[tuple[Any, Any]]:
    signature = job.map_signature
    mapper = partial(job.map, ctx=context) if signature.wants_context else job.map
    for start, batch in reader.batches(signature.second):
        result = mapper(batch) if signature.first is None else mapper(start, batch)
        yield from pairs_of(result, signature.gives, signature.where)
