"""How long a job will take on slots that need not exist yet: from some of its maps and one of its reduces,
run here.

At most three splits, spread over the input, are mapped, and one partition of what they leave is reduced as
often as the whole input would fill it.  The times of all tasks follow by bytes, and those of the stages by
the model that also tells how long a running job has left (summary/stage_model.py).

I/O only through the FileSystem passed in; `now` is a monotonic clock in seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import log
from statistics import fmean
from typing import Final

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, ReduceAttempt, run_map, run_reduce
from ringmill.cluster.mapreduce.local.in_process import Each
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput, Slice
from ringmill.cluster.mapreduce.progress import Progress
from ringmill.cluster.mapreduce.summary.stage_model import stage_seconds, width_of
from ringmill.cluster.ports import FileSystem

__all__ = ["JobEstimate", "estimated"]

MOST_SAMPLES: Final = 3
MOST_REDUCED_BYTES: Final = 64 << 20
"""That the sampled reduce reads; the time for more follows from it."""
JOB_S: Final = 0.03
"""From the submission to the first task, and from the last one to the end."""
TASK_S: Final = 0.005
"""For the order, the report and the journal entries of a task, beside what the task itself takes."""
LEAST_S: Final = 0.01
"""What every reduce takes, however small."""
FETCHED_BYTES_A_S: Final = 100e6
"""By one reduce, from other nodes."""

Now = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEstimate:
    """What a job will probably take: `seconds`, and between `least_s` and `most_s`.

    `at_once` is how many tasks run at a time.  Bytes are those of the input, of what maps leave for the
    reduces, as it is stored, and of the output.  `sampled` maps of `sampled_bytes` were run, in `spent_s`
    with the reduce.
    """

    seconds: float
    least_s: float
    most_s: float
    at_once: int
    maps: int
    reduces: int
    map_s: float
    reduce_s: float
    input_bytes: int
    shuffle_bytes: int
    output_bytes: int
    sampled: int
    sampled_bytes: int
    spent_s: float


@dataclass(frozen=True, slots=True)
class _Timed:
    """An attempt that was run, and its seconds."""

    seconds: float
    map: MapOutput | None = None
    reduce: ReduceOutput | None = None


def estimated(
    definition: JobDefinition,
    spec: JobSpec,
    plan: InputPlan,
    files: FileSystem,
    *,
    folder: str,
    at_once: int,
    each: Each,
    now: Now,
) -> JobEstimate:
    """Run a sample in `folder`, which is new and empty.  Raises JobFailed when a sampled task fails."""
    began = now()
    chosen = _spread(plan.splits)
    try:
        maps = list(each(partial(_map, definition, spec, files, folder, now), chosen))
        reduced = _reduced(definition, spec, files, folder, now, each, plan, chosen, maps)
    except TaskFailed as failure:
        raise failure.as_job_error("a sampled task", 1) from failure
    map_times = _map_times(plan.splits, chosen, maps)
    map_s = stage_seconds((), map_times, at_once)
    reduce_s = stage_seconds((), reduced.seconds, at_once)
    likely_s = JOB_S + map_s + reduce_s
    width = width_of(_evened(chosen, maps), len(chosen)) if chosen else 0.0
    return JobEstimate(
        seconds=likely_s,
        least_s=likely_s * (1 - width),
        most_s=likely_s * (1 + width),
        at_once=at_once,
        maps=len(plan.splits),
        reduces=spec.partitions,
        map_s=map_s,
        reduce_s=reduce_s,
        input_bytes=sum(split.size for split in plan.splits),
        shuffle_bytes=round(reduced.shuffle_bytes),
        output_bytes=round(reduced.output_bytes),
        sampled=len(chosen),
        sampled_bytes=sum(split.size for split in chosen),
        spent_s=now() - began,
    )


def _spread(splits: Sequence[Split]) -> list[Split]:
    """At most three, spread evenly over the bytes; of each source one first, while sources are few."""
    sources = sorted({split.source for split in splits})
    count = min(MOST_SAMPLES, len(splits))
    chosen: dict[int, Split] = {}
    for source in sources[:count]:
        middle = _at([split for split in splits if split.source == source], 0.5)
        chosen[middle.index] = middle
    places = [_at(splits, (2 * number + 1) / (2 * count)) for number in range(count)]
    for split in [*places, *sorted(splits, key=_bytes_of, reverse=True)]:
        if len(chosen) < count:
            chosen.setdefault(split.index, split)
    return [chosen[index] for index in sorted(chosen)]


def _at(splits: Sequence[Split], share: float) -> Split:
    """The one in which this share of all bytes ends."""
    ends = [*accumulate(map(_bytes_of, splits))]
    return splits[min(bisect_right(ends, share * ends[-1]), len(splits) - 1)]


def _bytes_of(split: Split) -> int:
    return max(1, split.size)


def _map(
    definition: JobDefinition, spec: JobSpec, files: FileSystem, folder: str, now: Now, split: Split
) -> _Timed:
    own = f"{folder}/map-{split.index}"
    files.mkdir(own)
    began = now()
    done = run_map(definition, MapAttempt(spec, split, split.index, 1), files, own, Progress())
    return _Timed(now() - began, map=done)


def _map_times(splits: Sequence[Split], chosen: Sequence[Split], maps: Sequence[_Timed]) -> list[float]:
    """The seconds of every map: those that it took, else by the pace of the sampled ones of its source, else
    of all.  Larger splits weigh more: the time of a small one is mostly not that of its bytes."""
    own = {split.index: one.seconds for split, one in zip(chosen, maps, strict=True)}
    every = _pace(chosen, own)
    of_source = {
        source: _pace([split for split in chosen if split.source == source], own)
        for source in sorted({split.source for split in chosen})
    }
    return [
        TASK_S + own.get(split.index, _bytes_of(split) * of_source.get(split.source, every))
        for split in splits
    ]


def _pace(splits: Sequence[Split], seconds: Mapping[int, float]) -> float:
    """Seconds for a byte."""
    return sum(seconds[split.index] for split in splits) / max(1, sum(map(_bytes_of, splits)))


def _evened(chosen: Sequence[Split], maps: Sequence[_Timed]) -> list[float]:
    """What the sampled maps would have taken, had their splits been equal: those differ by what none of their
    bytes explains."""
    mean_s = fmean(one.seconds for one in maps)
    pace = sum(one.seconds for one in maps) / sum(map(_bytes_of, chosen))
    return [mean_s + one.seconds - pace * _bytes_of(split) for split, one in zip(chosen, maps, strict=True)]


@dataclass(frozen=True, slots=True)
class _Reduced:
    seconds: Sequence[float]  # of every reduce
    shuffle_bytes: float
    output_bytes: float


def _reduced(
    definition: JobDefinition,
    spec: JobSpec,
    files: FileSystem,
    folder: str,
    now: Now,
    each: Each,
    plan: InputPlan,
    chosen: Sequence[Split],
    maps: Sequence[_Timed],
) -> _Reduced:
    """What the reduces will take, from one partition of the sample."""
    outputs = [one.map for one in maps if one.map is not None]
    grown = sum(split.size for split in plan.splits) / max(1, sum(split.size for split in chosen))
    if spec.is_map_only:
        return _Reduced([], 0.0, grown * sum(done.partitions[0].length for done in outputs))
    sizes = [sum(done.partitions[n].raw_bytes for done in outputs) for n in range(spec.reducers)]
    stored = sum(done.partitions[n].length for done in outputs for n in range(spec.reducers))
    largest = max(range(spec.reducers), key=sizes.__getitem__)  # the stage waits for it
    if not sizes[largest]:
        return _Reduced([TASK_S] * spec.partitions, 0.0, 0.0)
    own = [done.slice(largest) for done in outputs]
    times = max(1, round(min(grown, MOST_REDUCED_BYTES / sizes[largest])))
    tried = [(0, own[:1]), (1, own), (2, own * times)]
    one, some, full = each(partial(_reduce, definition, spec, files, folder, largest, now), tried)
    a_byte_s, out = _a_byte(one, some, full, maps=len(outputs), grown=grown, times=times)
    a_byte_s, out = a_byte_s / sizes[largest], out / sizes[largest]
    if spec.order == "input":  # a split has one part, and few parts are in the sample
        sizes = [round(sum(sizes) / spec.reducers)] * spec.reducers
    fetched_s = grown * stored / FETCHED_BYTES_A_S / sum(sizes)  # for a byte of the sample
    seconds = [TASK_S + LEAST_S + (fetched_s + a_byte_s) * size for size in sizes]
    return _Reduced(
        [*seconds, *([TASK_S] * (spec.partitions - spec.reducers))], grown * stored, out * sum(sizes)
    )


def _a_byte(
    one: _Timed, some: _Timed, full: _Timed, *, maps: int, grown: float, times: int
) -> tuple[float, float]:
    """Seconds, beside the least, and bytes of output of one reduce of the whole input."""
    assert one.reduce is not None
    assert some.reduce is not None
    assert full.reduce is not None
    rest = grown / times  # for which the sample was not repeated
    seconds = max(0.0, full.seconds - LEAST_S) * rest
    size = full.reduce.size * rest
    if not some.reduce.groups:
        return seconds, size
    groups = _groups(one.reduce.groups, some.reduce.groups, maps, grown)
    new = max(0.0, groups - full.reduce.groups * rest)
    return seconds + new * _a_group_s(some, full), size + new * some.reduce.size / some.reduce.groups


def _reduce(
    definition: JobDefinition,
    spec: JobSpec,
    files: FileSystem,
    folder: str,
    partition: int,
    now: Now,
    tried: tuple[int, list[Slice]],
) -> _Timed:
    number, slices = tried
    own = f"{folder}/reduce-{number}"
    files.mkdir(own)
    began = now()
    attempt = ReduceAttempt(spec, partition, tuple(slices), 1)
    done = run_reduce(definition, attempt, files, own, Progress())
    return _Timed(now() - began, reduce=done)


def _groups(one: int, some: int, maps: int, grown: float) -> float:
    """Of a reduce of the whole input, by Heaps' law: as many new keys as from one sampled map to all."""
    if maps < 2 or not one or some <= one:
        return some
    return some * float(grown ** min(1.0, log(some / one) / log(maps)))


def _a_group_s(some: _Timed, full: _Timed) -> float:
    """What a group costs beside its records."""
    assert some.reduce is not None
    assert full.reduce is not None
    records = full.reduce.records_in - some.reduce.records_in
    a_record_s = max(0.0, full.seconds - some.seconds) / records if records > 0 else 0.0
    return max(0.0, some.seconds - LEAST_S - a_record_s * some.reduce.records_in) / some.reduce.groups
