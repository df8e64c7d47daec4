"""From `examples/wordcount.py:wordcount` to a checked job and the bundle that ships it.

The one part of the client that opens source files and imports a user's module: it runs in the command or
program that submits, where lambdas and wrong types are refused.  No node imports it.

The root is the module's own folder, or the folder its outermost package lies in.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from cluster.errors import InvalidArgument
from cluster.mapreduce.bundle import Bundle, build_bundle
from cluster.mapreduce.definition import JobDefinition
from cluster.mapreduce.failures import TaskFailed
from cluster.mapreduce.task import load_job

__all__ = ["PackedJob", "open_job"]


@dataclass(frozen=True, slots=True)
class PackedJob:
    """A job object that was found and checked, with the bundle a task process can load it from."""

    definition: JobDefinition
    module: str
    name: str
    bundle: Bundle


def open_job(target: str) -> PackedJob:
    """Load and pack `PATH.py:NAME`.

    Raises InvalidArgument when there is no such file or job, when the module does not import, or when it
    cannot be shipped; the message says where.
    """
    path, _, name = target.rpartition(":")
    if not path.endswith(".py") or not name:
        raise InvalidArgument(f"{target!r} is not PATH.py:NAME", hint="e.g. examples/wordcount.py:wordcount")
    if not os.path.isfile(path):
        raise InvalidArgument(f"there is no file {path}")
    root, module = _root_of(os.path.abspath(path))
    bundle = build_bundle(module, lambda relative: _read(os.path.join(root, relative)))
    return PackedJob(_load(root, module, name), module, name, bundle)


def _root_of(path: str) -> tuple[str, str]:
    """(folder to import from, dotted module name)."""
    folder, file = os.path.split(path)
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, ".".join(parts)


def _read(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _load(root: str, module: str, name: str) -> JobDefinition:
    known = getattr(sys.modules.get(module), "__file__", None)
    if known is not None and not os.path.abspath(known).startswith(root + os.sep):
        raise InvalidArgument(
            f"a module {module} is loaded already, from {known}", hint="give one another name"
        )
    try:
        return load_job(root, module, name)
    except TaskFailed as failure:
        frames = [f"  {frame}" for frame in failure.frames[-4:]]
        raise InvalidArgument("\n".join([failure.message, *frames])) from failure
