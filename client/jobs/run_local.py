"""Runs a job in this process, or in some, on this machine's files: no cluster, the same output bytes.

A composition root: it opens the real FileSystem door.  It does not load gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Final, TypeAlias

from ringmill.client.arguments import PathLike
from ringmill.client.jobs.collected import collected_by, take_collected
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.forked_tasks import ForkedTasks
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, first_job, last_job
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, is_keyspace_path
from ringmill.cluster.mapreduce.api.sources import named_paths, side_paths
from ringmill.cluster.mapreduce.failures import TaskFailed, shown
from ringmill.cluster.mapreduce.file_urls import is_url, output_url_of, path_of
from ringmill.cluster.mapreduce.files.inputs import find_inputs, named_inputs
from ringmill.cluster.mapreduce.files.keyspace_records import Content, encode_records, read_rows
from ringmill.cluster.mapreduce.files.readers import pages
from ringmill.cluster.mapreduce.kernel.typed_output import records_in
from ringmill.cluster.mapreduce.local.in_process import LOCAL_JOB, Each, LocalResult, run_in_process
from ringmill.cluster.ports import FileSystem

__all__ = [
    "Input",
    "absolute_inputs",
    "absolute_side",
    "new_name",
    "read_output",
    "read_result",
    "run_from_here",
    "run_local",
]

_NAME_BYTES: Final = 8  # random, so that none is drawn twice
Input: TypeAlias = (
    PathLike | Iterable[str] | Iterable[os.PathLike[str]] | Mapping[str, PathLike | Iterable[PathLike]]
)
"""Paths, folders and globs; by source where a job has several."""
Records: TypeAlias = Iterable[tuple[bytes, Content]]
"""What a keyspace would hold."""


def run_local(
    job: Runnable,
    input: Input | None = None,
    output: str | CollectOutput | None = None,
    *,
    records: Records | Mapping[str, Records] | None = None,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
    processes: int = 1,
    split_mib: int | None = None,
    side: Mapping[str, str] | None = None,
    on_bad_record: str | None = None,
) -> LocalResult:
    """Run a job or a pipeline in this process on this machine's files; the output is the same, byte for byte,
    as on a cluster.

    `input` is one path, folder or glob, or several; of a job with sources, a mapping of their names to those.
    `output` is a folder that must not exist unless `overwrite`, or CollectOutput(): then the result has the
    records as `collected`, and the current folder holds them in between.  Relative paths start there.
    With `processes` above 1 (256 at most) tasks run in that many processes forked from this one, and the
    output is the same.  Several runs at once do not disturb each other: each has its own staging folder.
    `split_mib`, `on_bad_record` and the paths of `side` take the place of the job's own settings, as on a
    cluster.

    A job that reads a keyspace gets `records` in place of `input`: pairs of key and what it holds, as
    KvInput says (a sequence of values, newest first; a count; a set; a dict), in the order in which a scan
    gives them.  They are one split.  Of a job with sources they are by the names of those that are keyspaces,
    and `input` has the others.  A job that writes a keyspace leaves its records in `output`, where
    `read_output` reads them.

    Raises InvalidArgument for bad arguments, JobFailed when the job's code fails.
    """
    each = map if processes == 1 else ForkedTasks(processes)
    collect = collected_by(job, output, overwrite=overwrite)
    by_source = isinstance(records, Mapping)
    if (output is None and collect is None) or (not by_source and (input is None) == (records is None)):
        raise InvalidArgument("a local run needs an output, and either an input or records")
    run = partial(
        run_from_here, job, output=output, each=lambda _: each,
        reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib, side=side,
        on_bad_record=on_bad_record,
    )  # fmt: skip
    if records is None:
        return run(input if input is not None else ())
    held = _held_records(job, records)
    is_path = isinstance(output, str) and not output_url_of(output)
    where = path_of("output", str(output)) if is_path else ".collected"
    parent, name = os.path.split(os.path.abspath(where))
    folder = f"{parent}/.{name}.ringmill-{new_name()}"
    with closing(OsFileSystem()) as files:
        try:
            files.mkdir(folder)
            written = {name: _write_records(each, folder, name, files) for name, each in held.items()}
            if not by_source:
                return run(written[""], has_records=True)
            if input is not None and not isinstance(input, Mapping):
                raise InvalidArgument("beside records by source, input is a mapping of sources, too")
            return run({**(input or {}), **written}, has_records=True)
        finally:
            files.remove_tree(folder)


def read_output(folder: str) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each record that a job with KvOutput has left in a folder, in the order of its parts.

    A piece of a part is in memory at a time.  Raises InvalidArgument for a folder that is not there, or has
    other files; OSError.
    """
    with closing(OsFileSystem()) as files:
        for found in find_inputs([os.path.abspath(folder)], files).files:
            with closing(files.open_read(found.path)) as part:
                blocks = read_rows(pages(part))
                while (records := _values_of(blocks, found.path)) is not None:
                    yield from records


def _values_of(blocks: Iterator[list[list[Any]]], path: str) -> list[tuple[bytes, bytes]] | None:
    """Key and value of each record of the next block; None at the end."""
    try:
        rows = next(blocks, None)
        return None if rows is None else [(key, value) for key, _, (value,) in rows]
    except (TaskFailed, TypeError, ValueError) as error:
        why = f": {error.message}" if isinstance(error, TaskFailed) else ""
        raise InvalidArgument(f"{path} is not an output of a job with KvOutput{why}") from error


def read_result(job: Runnable, folder: str) -> Iterator[tuple[Any, Any]]:
    """Key and value of each record that `job` has written to a folder, in the order of its parts.

    A block of a part is in memory at a time.  Raises InvalidArgument for a job with another output format,
    for a folder that is not there, and for files that hold anything else; OSError.
    """
    types = last_job(job).types
    if types is None:
        raise InvalidArgument(
            f"the job writes {last_job(job).output.format!r}, and only records are read with their types",
            hint='declare job(output=FileOutput("records"))',
        )
    with closing(OsFileSystem()) as files:
        try:
            yield from records_in(types, os.path.abspath(folder), files)
        except TaskFailed as failure:
            raise InvalidArgument(f"{failure.position}: {failure.message}") from failure


def _held_records(job: Runnable, records: Records | Mapping[str, Records]) -> Mapping[str, Records]:
    """What stands for each keyspace that the job reads, under "" where it has no sources.

    Raises InvalidArgument for records that stand for no keyspace, and for a keyspace without.
    """
    ends = first_job(job).ends
    held = records if isinstance(records, Mapping) else {"": records}
    for name in held:
        if not isinstance(end := ends.get(name), KvInput):
            reads = f"files as {end.format!r}" if end is not None else f"{', '.join(ends)}"
            raise InvalidArgument(
                f"records stand for a keyspace, and the job reads {reads}",
                hint="give input=, or declare job(input=KvInput())",
            )
    if missing := [name for name, end in ends.items() if isinstance(end, KvInput) and name not in held]:
        raise InvalidArgument(f"no records for the keyspace {', '.join(missing)}")
    return held


def _checked(records: Iterable[tuple[bytes, Content]]) -> Iterator[tuple[bytes, Content]]:
    """The records, checked.  Raises InvalidArgument for one that no keyspace holds."""
    for record in records:
        match record:
            case (bytes(), int() | Set() | Mapping() | list([_, *_]) | tuple([_, *_]) as held) if _is_bytes(
                held
            ):
                yield record
            case _:
                raise InvalidArgument(
                    f"{shown(record, 100)} is not a record of a keyspace",
                    hint="(b'key', [b'value']): values newest first; or an int, or a set or dict of bytes",
                )


def _is_bytes(held: Content) -> bool:
    if isinstance(held, int):
        return not isinstance(held, bool)
    parts = chain(held, held.values()) if isinstance(held, Mapping) else held
    return all(isinstance(part, bytes) for part in parts)


def _write_records(records: Records, folder: str, source: str, files: FileSystem) -> str:
    """Write a file with these records; its path."""
    file = files.create(f"{folder}/kv:{source or 'records'}")
    file.append(encode_records(_checked(records)))
    file.close()
    return file.path


def new_name(stem: str = LOCAL_JOB) -> str:
    """A name that no other run on this machine has."""
    return f"{stem}-{OsEntropy().random_bytes('run_local', _NAME_BYTES).hex()}"


def absolute_inputs(job: Runnable, input: Input) -> dict[str, tuple[str, ...]]:
    """The inputs by source, under "" where the job has no sources.  Raises InvalidArgument."""
    return {source: tuple(map(_absolute, paths)) for source, paths in _named(job, input).items()}


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def absolute_side(job: Runnable, side: Mapping[str, str] | None) -> dict[str, str]:
    """The paths of the side data by name.  Raises InvalidArgument."""
    paths = side_paths(job.side, side)
    return {name: os.path.abspath(path_of(f"side {name}", path)) for name, path in paths.items()}


def run_from_here(
    job: Runnable,
    input: Input,
    output: str | CollectOutput | None,
    each: Callable[[FileSystem], Each],
    *,
    reducers: int | None,
    params: Mapping[str, str] | None,
    overwrite: bool,
    split_mib: int | None,
    side: Mapping[str, str] | None,
    on_bad_record: str | None,
    has_records: bool = False,
) -> LocalResult:
    """Plan and commit here, and run the tasks wherever `each` runs them.  Raises as `run_local`.

    `has_records` says that `input` is a file with the records of a keyspace.
    """
    named = _named(job, input)
    for each_end in filter(is_keyspace_path, (*chain(*named.values()), output)):
        raise InvalidArgument(
            f"{each_end} is a keyspace: only a cluster can run this (`ringmill job run`, db.jobs.run)",
            hint="run_local(job, records=..., output=FOLDER) tries such a job on records of yours",
        )
    if first_job(job).reads_keyspace and not has_records:
        raise InvalidArgument(
            "input is a path, and the job reads a keyspace",
            hint="run_local(job, records=..., output=FOLDER) tries such a job on records of yours",
        )
    absolute = {source: tuple(map(_absolute, paths)) for source, paths in named.items()}
    name = new_name()
    collect = collected_by(job, output, overwrite=overwrite)
    url = "" if collect is not None else output_url_of(output)
    hidden = f".{url.rpartition('/')[2]}.{name}" if url else f".collected-{name}"
    where = path_of("output", str(output)) if collect is None and not url else hidden
    with closing(UrlFiles()) as files:
        result = run_in_process(
            job,
            absolute if job.source_names else absolute[""],
            os.path.abspath(where),
            files=files,
            reducers=reducers,
            params=params or {},
            overwrite=overwrite,
            job=name,
            each=each(files),
            split_mib=split_mib,
            side=absolute_side(job, side),
            on_bad_record=on_bad_record,
            collect_bytes=collect.max_bytes if collect is not None else 0,
            output_url=url,
        )
        if collect is None:
            return result
        taken = take_collected(job, result.output, files)
    return replace(result, output="", parts=(), collected=taken)


def _named(job: Runnable, input: Input) -> dict[str, tuple[str, ...]]:
    """The inputs by source, as they were given; under "" where the job has no sources."""
    by_name = named_paths(job.source_names, input)
    if by_name is None:
        assert not isinstance(input, Mapping)  # refused above
        return {"": named_inputs(input)}
    return {name: named_inputs(paths) for name, paths in by_name.items()}
