"""Loads a job by the name a user types ("path/to/module.py:name" or "package.module:name") and packs its
bundle.

The submitting process imports the module, so that a job that cannot run is refused here; on a node only a
task process imports it.  The root is the folder above the module's outermost package, and the bundle holds
only files below it.  See: docs/formats/bundle.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import posixpath
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.bundle import Bundle, build_bundle, trace_sources
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, first_job
from ringmill.cluster.mapreduce.codecs.arrow_hints import extra_hint
from ringmill.cluster.ports import FileSystem

__all__ = ["LoadedJob", "Target", "load_job", "load_job_module", "own_sources"]

Target: TypeAlias = str | Runnable


_TARGET_HINT = "write FILE.py:NAME, e.g. examples/wordcount.py:wordcount"


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job: the module and name by which nodes import it, its definition, and the sources it needs."""

    root: str
    module: str
    name: str
    definition: Runnable
    bundle: Bundle


def load_job(target: Target, files: FileSystem, folder: str) -> LoadedJob:
    """Load the job that `target` is or names; a relative path starts at `folder`.

    Raises InvalidArgument like `load_job_module`, and for a job that is not at the top level of a module,
    where nodes look for it by name.
    """
    if isinstance(target, Runnable):
        return load_job_module(_target_of(target), files, folder)
    if not isinstance(target, str):
        raise InvalidArgument(
            f"target is of type {type(target).__name__}; it must be a job or its name", hint=_TARGET_HINT
        )
    return load_job_module(target, files, folder)


def load_job_module(target: str, files: FileSystem, folder: str) -> LoadedJob:
    """Import the module of `target` and find the job in it; a relative path starts at `folder`.

    Raises InvalidArgument for a target of another form, a missing file, sources that cannot be packed, a
    module that fails to import (with the line that failed), or an object that is not a job.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        raise InvalidArgument(f"{target!r} does not name a job", hint=_TARGET_HINT)
    path = posixpath.join(folder, where) if where.endswith(".py") else _path_of_module(where)
    if not files.exists(path):
        raise InvalidArgument(
            f"there is no file {path}", hint="check the path; a relative path starts at the current folder"
        )
    root, module = _package_root(posixpath.normpath(path), files)
    bundle = build_bundle(module, lambda source: _source(files, f"{root}/{source}"))
    _forget_strangers(root, bundle)
    return LoadedJob(root, module, name, _job_in(_import(root, module, path), name, path), bundle)


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
    first = first_job(definition)
    functions = (first.map, first.combine, first.reduce)
    likely = [sys.modules.get(function.__module__) for function in functions if function is not None]
    for module in [*likely, *sys.modules.values()]:
        name = _name_in(module, definition)
        if module is None or not name:
            continue
        path = getattr(module, "__file__", None)
        if path is None or not path.endswith(".py"):
            raise InvalidArgument(
                f"the job {name!r} is in {module.__name__}, which has no file",
                hint="nodes import the job from its file: move the job into a file and import it from there",
            )
        if getattr(module.__spec__, "_initializing", False):
            raise InvalidArgument(
                f"{path} runs a job while it is being imported",
                hint='nodes import it, too: put the run under `if __name__ == "__main__":`',
            )
        return f"{posixpath.abspath(path)}:{name}"
    raise InvalidArgument(
        "the job is not at the top level of a module",
        hint="nodes find it by name: assign the result of job() to a name at the top level of a file",
    )


def _name_in(module: ModuleType | None, definition: Runnable) -> str:
    """The name of the job in a module; "" when the module does not have it."""
    found = getattr(module, "__dict__", {}).items()
    return next((name for name, value in list(found) if value is definition and name.isidentifier()), "")


def _path_of_module(module: str) -> str:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise InvalidArgument(f"there is no module {module!r} here", hint="to name a file, write its .py")
    return found.origin


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


def _import(root: str, module: str, path: str) -> ModuleType:
    """Import the module with its folder first on the path."""
    with _first_on_path(root):
        try:
            return importlib.import_module(module)
        except RingmillError:
            raise
        except (Exception, SystemExit) as error:
            raise InvalidArgument(
                f"{path} fails to import: {type(error).__name__}: {error}{_user_line(error, root)}",
                hint=extra_hint(error) or "run it by itself for details: python " + path,
            ) from error


def _job_in(module: ModuleType, name: str, path: str) -> Runnable:
    found = getattr(module, name, None)
    if isinstance(found, Runnable):
        return found
    what = "is not there" if found is None else f"is a {type(found).__name__}, not a job"
    jobs = ", ".join(sorted(each for each, value in vars(module).items() if isinstance(value, Runnable)))
    raise InvalidArgument(f"{name!r} in {path} {what}", hint=f"its jobs: {jobs or 'none'}")


def _source(files: FileSystem, path: str) -> bytes | None:
    return files.read_bytes(path) if files.exists(path) and not files.is_dir(path) else None


def _forget_strangers(root: str, bundle: Bundle) -> None:
    """Remove modules that have the names of the job's modules but were imported from another folder."""
    for path in bundle.files:
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        present = sys.modules.get(name)
        if present is not None and present.__file__ != f"{root}/{path}":
            del sys.modules[name]
    importlib.invalidate_caches()


@contextmanager
def _first_on_path(root: str) -> Iterator[None]:
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)


def _user_line(error: BaseException, root: str) -> str:
    """The line of the user's own files where the error happened."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(root)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
