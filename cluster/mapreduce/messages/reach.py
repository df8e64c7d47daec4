"""What a task may reach: the files that it reads, the folders that it writes, the network.

Pure: derived from the description of the job and from what the node calls its own.  The task process applies
it before it runs code of the job (cluster/adapters/containment/contain.py).  It is the same for all attempts
of a job, but for the files of each split, so that one process can serve many attempts.  The folders that a
process writes are its own (node/compute/workplace.py).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.stages import STAGES
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.file_urls import is_url
from ringmill.cluster.mapreduce.files.inputs import folder_of_pattern
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.outputs import staging_folder

__all__ = [
    "Reach",
    "TaskContainment",
    "files_of_split",
    "is_within",
    "parts_folder",
    "path_here",
    "uses_network",
]

_ON_THIS_MACHINE: Final = "local://"  # as fsspec calls it; file:// is taken off when a job is submitted


@dataclass(frozen=True, slots=True)
class Reach:
    """Absolute paths; a folder stands for all below it.

    `secrets` are not reached through `reads`, whatever is said there.  `given` are read, too: the node has
    named them itself, and they may lie among its secrets.  So may what is in `writes`.
    """

    given: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    secrets: tuple[str, ...]
    network: bool

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order."""
        return [self.given, self.reads, self.writes, self.secrets, self.network]

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> Reach:
        given, reads, writes, secrets, network = fields
        return cls(tuple(given), tuple(reads), tuple(writes), tuple(secrets), network)

    def writing(self, *folders: str) -> Reach:
        """The same of a process whose own these folders are."""
        return replace(self, writes=folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContainment:
    """How a node contains its tasks.

    `level` is what its kernel enforces, in words.  `secrets` are its own files and folders, `home` is that of
    its user.  With `refusal`, which says why, the node runs no jobs.
    """

    level: str = ""
    is_on: bool = False
    secrets: tuple[str, ...] = ()
    home: str = ""
    refusal: str = ""

    def reach_of(self, spec: JobSpec, bundle: str, scratch: str = "") -> Reach | None:
        """What the tasks of a job may reach, without folders to write; None when they are not contained.

        `scratch` is the folder of the job on this node.
        """
        if not self.is_on:
            return None
        named = [each for path in spec.inputs for each in self._permitted(path)]
        noted = [file.path for files in spec.noted.values() for file in files]
        return Reach(
            tuple(filter(None, (bundle, scratch, parts_folder(spec)))),
            reads=tuple(dict.fromkeys([*named, *noted, *spec.side.values()])),
            writes=(),
            secrets=self.secrets,
            network=uses_network(spec),
        )

    def refuse_secrets(self, spec: JobSpec) -> None:
        """Raises InvalidArgument for a job that names what is the cluster's own; links are not followed."""
        named = {"input": spec.inputs, "side": spec.side.values(), "output": (spec.output, spec.output_url)}
        for what, paths in named.items() if self.is_on else ():
            for path in paths:
                if any(is_within(path_here(path), each) for each in self.secrets):
                    raise InvalidArgument(
                        f"{what} {path} lies in a folder of the cluster itself",
                        hint="tasks neither read nor write there; give another path",
                    )

    def _permitted(self, path: str) -> list[str]:
        """What one input stands for, as far as it is no secret and not everything of the nodes' user.

        The files of a pattern that begins there are permitted one by one, with the split that has them.
        """
        path = path_here(path)
        if not path.startswith("/"):
            return []  # a store, or a keyspace
        folder = folder_of_pattern(path)
        if folder is None:
            stages = posixpath.dirname(path)
            return [stages if stages.endswith(STAGES) else path]
        is_too_much = any(is_within(each, folder) for each in (self.home, *self.secrets) if each)
        return [path] if is_too_much else [path, folder]


def parts_folder(spec: JobSpec) -> str:
    """The hidden folder that parts are moved into: the one beside the output, or that of all stages."""
    stages = posixpath.dirname(spec.output)
    return stages if stages.endswith(STAGES) else staging_folder(spec.output, spec.staging)


def path_here(path: str) -> str:
    """The path of a file of this machine, however it is named; a URL of a store as it is."""
    return path.removeprefix(_ON_THIS_MACHINE)


def uses_network(spec: JobSpec) -> bool:
    """Whether tasks may open connections: it was asked for, or an input lies in a store."""
    return spec.network or any(is_url(each) and not each.startswith(_ON_THIS_MACHINE) for each in spec.inputs)


def files_of_split(row: Sequence[Any]) -> list[str]:
    """The files that a map attempt reads of its input, from the split as messages carry it."""
    if not row:
        return []
    split = Split.from_wire(row)
    pieces = (*split.pieces, *split.sample)
    paths = (path_here(piece.file.path) for piece in pieces)
    return list(dict.fromkeys(path for path in paths if not is_url(path)))


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or below it; both absolute and without . and .. in them."""
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
