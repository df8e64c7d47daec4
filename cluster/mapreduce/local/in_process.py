"""Runs a whole job in this process, task after task: the oracle for every other way to run it.

I/O only through the FileSystem passed in.  It plans, maps, reduces and commits with the functions that a
cluster uses.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, Final, Protocol, TypeVar

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, first_job
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from ringmill.cluster.mapreduce.api.chains.stage_specs import former_stage, stage_of
from ringmill.cluster.mapreduce.api.chains.stages import START, StagePlace, may_ask, place_after
from ringmill.cluster.mapreduce.api.formats import refuse_too_much
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.job_steps import input_plan_of
from ringmill.cluster.mapreduce.commit.output_commit import (
    StagedPart,
    commit_output,
    refuse_existing,
    remove_stages,
    remove_staging,
)
from ringmill.cluster.mapreduce.commit.url_commit import commit_to_store, leaves_copies, remove_copies
from ringmill.cluster.mapreduce.failures import TaskFailed, too_many_bad
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES, InputFile, Split, SplitSizes
from ringmill.cluster.mapreduce.kernel.last_round import is_last_round
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, ReduceAttempt, run_map, run_reduce
from ringmill.cluster.mapreduce.local.carried import ProcessEnded
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput, staging_folder
from ringmill.cluster.mapreduce.progress import Progress
from ringmill.cluster.ports import FileSystem

__all__ = ["LOCAL_JOB", "Each", "LocalResult", "run_in_process", "run_spec", "run_target"]

LOCAL_JOB: Final = "local"

T = TypeVar("T")
R = TypeVar("R")


class Each(Protocol):
    """Runs tasks of one stage, here or elsewhere: `map` runs them here, one after the other."""

    def __call__(self, run: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
        """The results in the order of the tasks.  Raises TaskFailed of the first that failed."""
        ...


@dataclass(frozen=True, slots=True)
class LocalResult:
    """A finished job: its part files, and what went through it."""

    output: str
    parts: tuple[str, ...]
    records: Mapping[str, int]  # map_in, map_out, reduce_in, reduce_out, bad if some may be set aside
    counters: Mapping[str, int]
    notes: tuple[str, ...] = ()  # what the input named and the job did not read
    noted: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict, repr=False)
    collected: tuple[tuple[Any, Any], ...] = field(default=(), repr=False)  # with CollectOutput


def run_in_process(
    target: Runnable,
    input: Sequence[str] | Mapping[str, tuple[str, ...]],
    output: str,
    *,
    files: FileSystem,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
    job: str = LOCAL_JOB,
    each: Each = map,
    split_mib: int | None = None,
    side: Mapping[str, str] | None = None,
    on_bad_record: str | None = None,
    collect_bytes: int = 0,
    output_url: str = "",
) -> LocalResult:
    """Run a job or a chain over absolute paths and make its output folder.  `job` names its staging folder.

    Raises InvalidArgument for arguments that are not valid; JobFailed when a task fails (there are no
    retries, because in one process the same code fails again); OSError.
    """
    spec = spec_of(
        target,
        job=job,
        module=first_job(target).map.__module__,
        name="job",
        bundle_sha256="",
        inputs=input if isinstance(input, Mapping) else tuple(input),
        output=output,
        reducers=reducers,
        params=params,
        overwrite=overwrite,
        split_mib=split_mib,
        side=side,
        on_bad_record=on_bad_record,
        collect_bytes=collect_bytes,
        output_url=output_url,
    )
    return run_target(target, spec, files, each=each)


def run_target(
    target: Runnable,
    spec: JobSpec,
    files: FileSystem,
    sizes: SplitSizes = SPLIT_SIZES,
    each: Each = map,
) -> LocalResult:
    """Run what a spec describes, a job or a chain.  Raises as `run_in_process`."""
    if isinstance(target, JobDefinition):
        return run_spec(target, spec, files, sizes, each)
    refuse_existing(files, spec.shown_output, overwrite=spec.overwrite)
    links, place = [each.rounds for each in spec.chain], START
    results: list[LocalResult] = []
    try:
        while True:
            stage, link = stage_of(spec, place), target.links[place.link]
            results.append(run_spec(link.step, stage, files, sizes, each))
            if former := former_stage(spec, place):
                files.remove_tree(former)
            counters = results[-1].counters
            was_last = may_ask(spec.chain[place.link], place) and _said_last(
                link.step, stage, place, counters, files
            )
            after = place_after(links, place, counters, was_last=was_last)
            if after is None:
                return _of_all(results)
            if not place.passed:
                spec = replace(spec, noted=results[-1].noted)
            place = after
    finally:
        remove_stages(files, spec)


def _said_last(
    step: JobDefinition, stage: JobSpec, place: StagePlace, counters: Mapping[str, int], files: FileSystem
) -> bool:
    """Raises JobFailed."""
    try:
        return is_last_round(step, stage, place.round + 1, counters, files)
    except TaskFailed as failure:
        raise failure.as_job_error("until", 1) from failure


def _of_all(results: Sequence[LocalResult]) -> LocalResult:
    """Of a chain: the parts of its last stage, and what went through all."""
    records, counters = Counter[str](), Counter[str]()
    for each in results:
        records.update(each.records)
        counters.update(each.counters)
    notes = tuple(note for each in results for note in each.notes)
    return replace(results[-1], records=dict(records), counters=dict(counters), notes=notes)


def run_spec(
    definition: JobDefinition,
    spec: JobSpec,
    files: FileSystem,
    sizes: SplitSizes = SPLIT_SIZES,
    each: Each = map,
) -> LocalResult:
    """Run what a spec describes, with a definition that is loaded already.  Raises as `run_in_process`."""
    refuse_existing(files, spec.shown_output, overwrite=spec.overwrite)
    plan = input_plan_of(spec, files, sizes)
    spec = replace(spec, noted=plan.noted)
    staging = staging_folder(spec.output, spec.staging)
    remove_staging(files, spec.staging, spec.output)
    files.mkdir(staging)
    try:
        maps = _all("map", each(partial(_map, definition, spec, staging, files), plan.splits))
        _refuse_too_many_bad(spec, maps)
        partitions = range(spec.partitions)
        reduces = _all("reduce", each(partial(_reduce, definition, spec, maps, files), partitions))
        last: Sequence[MapOutput | ReduceOutput] = maps if spec.is_map_only else reduces
        parts = [StagedPart.of(task, output, spec) for task, output in enumerate(last)]
        refuse_too_much(sum(part.size for part in parts), spec.collect_bytes)
        if spec.output_url:
            _commit_to_store(spec, parts, files)
        else:
            commit_output(files, spec.staging, spec.output, parts, overwrite=spec.overwrite)
    finally:
        definition.kept.clear()  # of no use to another run; else it would stay, and travel when pickled
        remove_staging(files, spec.staging, spec.output)
    paths = tuple(f"{spec.shown_output}/{part.name}" for part in parts)
    return _result(spec, maps, reduces, paths, plan.notes)


def _commit_to_store(spec: JobSpec, parts: Sequence[StagedPart], files: FileSystem) -> None:
    try:
        commit_to_store(files, spec.output_url, parts, overwrite=spec.overwrite, again=False)
    except (CorruptData, OSError) as error:
        if leaves_copies(error):
            with contextlib.suppress(OSError):
                remove_copies(files, spec.output_url, parts)
        raise


def _map(
    definition: JobDefinition, spec: JobSpec, staging: str, files: FileSystem, split: Split
) -> MapOutput:
    folder = _new_folder(files, f"{staging}/map-{split.index}")
    task = MapAttempt(spec, split, split.index, 1)
    return run_map(definition, task, files, folder, Progress())


def _reduce(
    definition: JobDefinition, spec: JobSpec, maps: Sequence[MapOutput], files: FileSystem, partition: int
) -> ReduceOutput:
    folder = _new_folder(files, f"{staging_folder(spec.output, spec.staging)}/reduce-{partition}")
    slices = tuple(done.slice(partition) for done in maps)
    task = ReduceAttempt(spec, partition, slices, 1)
    return run_reduce(definition, task, files, folder, Progress())


def _new_folder(files: FileSystem, wanted: str) -> str:
    """Of one attempt alone: other engines run a task again, or twice at once."""
    for number in count(1):
        with contextlib.suppress(FileExistsError):
            files.make_folder(folder := f"{wanted}-{number}")
            return folder
    raise AssertionError("count has no end")


def _all(stage: str, results: Iterator[R]) -> list[R]:
    """The results of a stage.  Raises JobFailed, which names the task if it is known."""
    done: list[R] = []
    try:
        done.extend(results)  # what comes before an error is kept
    except ProcessEnded as ended:
        raise ended.as_stage_error(stage) from ended
    except TaskFailed as failure:
        raise failure.as_job_error(f"{stage}-{len(done)}", 1) from failure
    return done


def _refuse_too_many_bad(spec: JobSpec, maps: Sequence[MapOutput]) -> None:
    bad = sum(done.partitions[-1].records for done in maps) if spec.bad_records else 0
    if bad > spec.bad_records:
        raise too_many_bad(spec.bad_records)


def _result(
    spec: JobSpec,
    maps: Sequence[MapOutput],
    reduces: list[ReduceOutput],
    paths: tuple[str, ...],
    notes: tuple[str, ...],
) -> LocalResult:
    set_aside = {"bad": reduces.pop().records_out} if spec.bad_records else {}
    counters: Counter[str] = Counter()
    for counted in (*(done.counters for done in maps), *(done.counters for done in reduces)):
        counters.update(counted)
    records = {
        "map_in": sum(each.records_in for each in maps),
        "map_out": sum(each.records_out for each in maps),
        "reduce_in": sum(each.records_in for each in reduces),
        "reduce_out": sum(each.records_out for each in reduces),
    }
    if spec.passes_on:  # which counts batches
        records["reduce_in"] = records["reduce_out"]
    records |= set_aside
    parts = paths[: len(reduces)] if spec.bad_records else paths
    return LocalResult(spec.shown_output, parts, records, dict(counters), notes, spec.noted)
