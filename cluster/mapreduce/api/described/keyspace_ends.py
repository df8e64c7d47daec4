"""Which inputs of a submission are keyspaces, and with what consistency they are read.

Pure.  Layout: docs/formats/job.md, "Description".
"""

from __future__ import annotations

from collections.abc import Mapping

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, is_keyspace_path
from ringmill.cluster.mapreduce.files.inputs import SourcePaths

__all__ = ["is_keyspace", "levels_of"]


def is_keyspace(reading: SourcePaths) -> bool:
    """Whether a source reads a keyspace; in a local run a file stands for one."""
    return reading.format == "kv" and len(reading.paths) == 1 and is_keyspace_path(reading.paths[0])


def levels_of(
    definition: JobDefinition, inputs: tuple[str, ...] | Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The consistency of each input by source; "" where files are read."""
    paths = inputs if isinstance(inputs, Mapping) else {"": inputs}
    return tuple(
        end.consistency if isinstance(end, KvInput) and any(map(is_keyspace_path, paths[name])) else ""
        for name, end in definition.ends.items()
    )
