"""Loads a job by the name a user types ("path/to/module.py:name" or "package.module:name") and packs its
bundle.

The submitting process imports the module, so that a job that cannot run is refused here; on a node only a
task process imports it.  The root is the folder above the module's outermost package, and the bundle holds
only files below it.  See: docs/formats/bundle.md.
"""

from __future__ import annotations

import importlib.util
import posixpath
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TypeAlias

from ringmill.client.jobs.importing import Sources, check_is_imported, kept_modules, module_of
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import Bundle, packed_sources, trace_sources
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, first_job
from ringmill.cluster.ports import FileSystem

__all__ = [
    "FoundJob", "LoadedJob", "NamedJob", "Target", "find_job", "imported_job", "load_job", "load_job_module",
    "named_job", "own_sources",
]  # fmt: skip

Target: TypeAlias = str | Runnable


_TARGET_HINT = "write FILE.py:NAME, e.g. examples/wordcount.py:wordcount"


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job: the module and name by which nodes import it, its definition, and the sources it needs.

    `in_file` is the job as its file says it now: another one where the caller has given the definition.
    """

    root: str
    module: str
    name: str
    definition: Runnable
    bundle: Bundle
    in_file: Runnable


@dataclass(frozen=True, slots=True)
class NamedJob:
    """The file of a job, and its name there; `target` is what the caller has given."""

    target: Target
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class FoundJob:
    """The sources of a job, which are not yet imported; `target` is what the caller has given."""

    target: Target
    name: str
    sources: Sources


def load_job(target: Target, files: FileSystem, folder: str) -> LoadedJob:
    """Load the job that `target` is or names; a relative path starts at `folder`.

    Raises InvalidArgument like `load_job_module`, and for a job that is not at the top level of a module,
    where nodes look for it by name.
    """
    return imported_job(find_job(named_job(target, folder), files))


def named_job(target: Target, folder: str) -> NamedJob:
    """Where the job is.  The packages above a module that is named are imported for this, in the caller's
    thread: another one would wait for one that is being imported.  Raises like `load_job`."""
    if not isinstance(target, str | Runnable):
        raise InvalidArgument(
            f"target is of type {type(target).__name__}; it must be a job or its name", hint=_TARGET_HINT
        )
    named = target if isinstance(target, str) else _target_of(target)
    where, colon, name = named.rpartition(":")
    if not colon or not name.isidentifier():
        raise InvalidArgument(f"{named!r} does not name a job", hint=_TARGET_HINT)
    path = posixpath.join(folder, where) if where.endswith(".py") else _path_of_module(where)
    return NamedJob(target, path, name)


def find_job(named: NamedJob, files: FileSystem) -> FoundJob:
    """Read and pack the sources; this takes long for many, and runs none of their code.  Raises like
    `load_job`."""
    path = named.path
    if not files.exists(path):
        raise InvalidArgument(
            f"there is no file {path}", hint="check the path; a relative path starts at the current folder"
        )
    root, module = _package_root(posixpath.normpath(path), files)
    contents = trace_sources(module, lambda source: _source(files, f"{root}/{source}"))
    sources = Sources(root, module, path, contents, packed_sources(module, contents))
    return FoundJob(named.target, named.name, sources)


def imported_job(found: FoundJob) -> LoadedJob:
    """Import the module, unless that was done, and find the job in it.  Raises like `load_job`."""
    sources, target = found.sources, found.target
    in_file = _job_in(module_of(sources), found.name, sources.path)
    definition = in_file if isinstance(target, str) else target
    if definition.made_at.module != sources.module and definition.made_at.is_source(sources.own):
        in_file = definition  # a script, or by another name; what it says may be another at each run: a time
    return LoadedJob(sources.root, sources.module, found.name, definition, sources.bundle, in_file)


def load_job_module(target: str, files: FileSystem, folder: str) -> LoadedJob:
    """Import the module of `target` and find the job in it; a relative path starts at `folder`.

    Raises InvalidArgument for a target of another form, a missing file, sources that cannot be packed, a
    module that fails to import (with the line that failed), or an object that is not a job.
    """
    return load_job(target, files, folder)


def own_sources(path: str, files: FileSystem) -> frozenset[str]:
    """The paths of a module and of its local imports, as a bundle would hold them; none for a module without
    a file.  Raises InvalidArgument for sources that cannot be packed."""
    if not files.exists(path):
        return frozenset()
    root, module = _package_root(posixpath.normpath(path), files)
    sources = trace_sources(module, lambda source: _source(files, f"{root}/{source}"))
    return frozenset(f"{root}/{source}" for source in sources)


def _target_of(definition: Runnable) -> str:
    """FILE.py:NAME of a job or pipeline that was made at the top level of a module."""
    for module in _likely_modules(definition):
        name = _name_in(module, definition)
        if module is None or not name:
            continue
        path = getattr(module, "__file__", None)
        if path is None or not path.endswith(".py"):
            raise InvalidArgument(
                f"the job {name!r} is in {module.__name__}, which has no file",
                hint="nodes import the job from its file: move the job into a file and import it from there",
            )
        check_is_imported(module)
        return f"{posixpath.abspath(path)}:{name}"
    raise InvalidArgument(
        "the job is not at the top level of a module",
        hint="nodes find it by name: assign the result of job() to a name at the top level of a file",
    )


def _likely_modules(definition: Runnable) -> Iterator[ModuleType | None]:
    """The module that made the job, those of its functions, all others: who imports it has it as well, the
    script that runs before all."""
    first = first_job(definition)
    functions = [each for each in (first.map, first.combine, first.reduce) if each is not None]
    others = [name for name in list(sys.modules) if name != "__main__"]
    for name in (definition.made_at.module, *(each.__module__ for each in functions), *others, "__main__"):
        yield sys.modules.get(name)
    yield from kept_modules()


def _name_in(module: ModuleType | None, definition: Runnable) -> str:
    """The name of the job in a module; "" when the module does not have it."""
    found = getattr(module, "__dict__", {}).items()
    return next((name for name, value in list(found) if value is definition and name.isidentifier()), "")


def _path_of_module(module: str) -> str:
    for package in _packages_above(module):
        check_is_imported(package)
    found: ModuleSpec | None = None
    if module in sys.modules:
        found = getattr(sys.modules[module], "__spec__", None)  # None is a module that must not be imported
    elif all(part.isidentifier() for part in module.split(".")):
        try:
            found = importlib.util.find_spec(module)
        except Exception as error:  # in a package above it, which is imported for this
            if not (isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")):
                raise InvalidArgument(
                    f"the package of {module} fails to import: {type(error).__name__}: {error}",
                    hint=f"import it by itself for details: {module.rpartition('.')[0]}",
                ) from error
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise InvalidArgument(f"there is no module {module!r} here", hint="to name a file, write its .py")
    return found.origin


def _packages_above(module: str) -> Iterator[ModuleType]:
    """The packages above that this program has imported, or is importing."""
    while module := module.rpartition(".")[0]:
        if (package := sys.modules.get(module)) is not None:
            yield package


def _package_root(path: str, files: FileSystem) -> tuple[str, str]:
    """The folder above the outermost package that holds the file, and the module's name from there."""
    folder, file = posixpath.split(path)
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while files.exists(f"{folder}/__init__.py"):
        folder, package = posixpath.split(folder)
        parts.insert(0, package)
    if not all(part.isidentifier() for part in parts):
        raise InvalidArgument(f"{path} cannot be imported by the name {'.'.join(parts)!r}; rename it")
    return folder, ".".join(parts)


def _job_in(module: ModuleType, name: str, path: str) -> Runnable:
    found = getattr(module, name, None)
    if isinstance(found, Runnable):
        return found
    what = "is not there" if found is None else f"is a {type(found).__name__}, not a job"
    jobs = ", ".join(sorted(each for each, value in vars(module).items() if isinstance(value, Runnable)))
    raise InvalidArgument(f"{name!r} in {path} {what}", hint=f"its jobs: {jobs or 'none'}")


def _source(files: FileSystem, path: str) -> bytes | None:
    return files.read_bytes(path) if files.exists(path) and not files.is_dir(path) else None
