"""What a submission reads and where its result goes: paths, or keyspaces, as the job declares and the caller
says.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ringmill.client.arguments import Inputs, PathLike, checked_params, checked_path, checked_paths
from ringmill.client.jobs.collected import collected_by
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, first_job, last_job
from ringmill.cluster.mapreduce.api.chains.stages import FIRST_INPUT
from ringmill.cluster.mapreduce.api.formats import CollectOutput, FileInput
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath, KvInput, KvOutput, is_keyspace_path
from ringmill.cluster.mapreduce.api.sources import named_paths, side_paths
from ringmill.cluster.mapreduce.file_urls import output_url_of

__all__ = ["OutputEnd", "checked_inputs", "checked_output", "checked_side", "names_output"]

# what a later job of a pipeline reads beside the job before is no keyspace
_LATER: Final = FileInput("records")


def checked_inputs(target: Runnable, given: Inputs | None) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
    """Absolute paths, by source where the job has several, or the one keyspace.  Raises InvalidArgument."""
    definition = first_job(target)
    ends = {name or FIRST_INPUT: end for name, end in definition.ends.items()}
    declared = {name: end.path for name, end in ends.items() if isinstance(end, KvInput) and end.path}
    by_name = named_paths(target.source_names, () if given is None else given, declared)
    if by_name is not None:
        return {
            name: _checked_source(f"input {name}", ends.get(name, _LATER), paths)
            for name, paths in by_name.items()
        }
    source = definition.input
    if given is None or given == ():
        if not isinstance(source, KvInput) or not source.path:
            raise InvalidArgument("the job names no input", hint="say input=, --input on the command line")
        given = source.path
    if isinstance(given, str) and is_keyspace_path(given):
        given = (given,)
    elif isinstance(given, Iterator):
        given = tuple(given)
    return _checked_source("input", source, given)


def _checked_source(what: str, source: FileInput | KvInput, given: object) -> tuple[str, ...]:
    """What one source reads.  Raises InvalidArgument."""
    named = checked_paths(what, given)
    many = () if isinstance(given, str) or not isinstance(given, Iterable) else given
    keyspaces = [*filter(is_keyspace_path, many)]
    if not keyspaces and isinstance(source, KvInput):
        raise InvalidArgument(
            f"{what} {named[0]!r} is a path, and the job reads a keyspace"
            if named
            else "the job names no input",
            hint="kv:KEYSPACE, or kv:KEYSPACE/PREFIX for some keys",
        )
    if not keyspaces:
        return named
    if len(named) > 1:
        raise InvalidArgument(f"{keyspaces[0]} is one of {len(named)} inputs; a keyspace is read alone")
    if not isinstance(source, KvInput):
        raise InvalidArgument(
            f"{keyspaces[0]} is a keyspace, and the job reads files as {source.format!r}",
            hint="declare job(input=KvInput()), with a map that takes key and value",
        )
    return (str(KeyspacePath.of(str(keyspaces[0]))),)


def checked_side(target: Runnable, given: Mapping[str, str] | None) -> dict[str, str]:
    """Absolute paths of the side data by name.  Raises InvalidArgument."""
    paths = side_paths(target.side, checked_params(given, "side"))
    return {name: checked_path(f"side {name}", path) for name, path in paths.items()}


class OutputEnd(NamedTuple):
    """Where a result goes: a folder; or a keyspace or a URL, whose parts are staged beside that path; or to
    the caller, who takes at most that number of bytes of it from that folder.  With `overwrite` it takes the
    place of what is there."""

    folder: str
    keyspace: str = ""
    collect_bytes: int = 0
    overwrite: bool = False
    url: str = ""


def names_output(target: Runnable) -> bool:
    """Whether the job itself says where its result goes, so that a submission need not."""
    sink = last_job(target).output
    return isinstance(sink, CollectOutput) or (isinstance(sink, KvOutput) and bool(sink.path))


def checked_output(
    target: Runnable, given: PathLike | CollectOutput | None, job: str, *, overwrite: bool
) -> OutputEnd:
    """Where the result of a submission goes.  Raises InvalidArgument."""
    sink = last_job(target).output
    if (collect := collected_by(target, given, overwrite=overwrite)) is not None:
        return OutputEnd(os.path.abspath(f".collected-{job}"), collect_bytes=collect.max_bytes)
    assert not isinstance(given, CollectOutput)
    if given is None:
        if not isinstance(sink, KvOutput) or not sink.path:
            raise InvalidArgument("the job names no output", hint="say output=, --output on the command line")
        given = sink.path
    if url := output_url_of(given):
        return OutputEnd(os.path.abspath(f".{url.rpartition('/')[2]}.{job}"), overwrite=overwrite, url=url)
    if not is_keyspace_path(given):
        return OutputEnd(checked_path("output", given), overwrite=overwrite)
    path = KeyspacePath.of(str(given))
    if path.prefix:
        raise InvalidArgument(f"{given} has a prefix; a job gives whole keys: kv:{path.keyspace}")
    if not isinstance(sink, KvOutput):
        raise InvalidArgument(
            f"{given} is a keyspace, and the job writes files as {sink.format!r}",
            hint="declare job(output=KvOutput())",
        )
    replaces = overwrite or sink.mode == "replace"
    return OutputEnd(os.path.abspath(f"{path.keyspace}.{job}"), path.keyspace, overwrite=replaces)
