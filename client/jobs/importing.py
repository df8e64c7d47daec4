"""Imports the module of a job from its folder, as its file is now, beside what this program has imported
under the same names.

A submission leaves the program's own modules as they are.  Modules of the job that the program already has
are used, unless their files have changed since.
"""

from __future__ import annotations

import importlib
import posixpath
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Final
from weakref import WeakKeyDictionary

from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.chains.chain import Runnable
from ringmill.cluster.mapreduce.codecs.arrow_hints import extra_hint

__all__ = ["Sources", "check_is_imported", "kept_modules", "module_of"]

_MOST_KEPT: Final = 200
_GUARD: Final = 'put the run under `if __name__ == "__main__":`'

_one_at_a_time = threading.Lock()  # sys.path and sys.modules are those of all threads
_importing: ContextVar[str] = ContextVar("importing", default="")  # also in the clients that its file makes
_kept: dict[str, tuple[str, ModuleType]] = {}
"""By path the module of a job, with the SHA-256 of the bundle whose sources it was made of."""
_seen: WeakKeyDictionary[ModuleType, tuple[object, bytes]] = WeakKeyDictionary()
"""The SHA-256 of each module's source when a job that needs it was first submitted since the module was
loaded, and its spec, which a reload makes anew."""


@dataclass(frozen=True, slots=True)
class Sources:
    """A job's module and all local ones that it imports: what they hold, by path below the root."""

    root: str
    module: str
    path: str
    contents: Mapping[str, bytes]
    bundle: Bundle

    @property
    def own(self) -> bytes:
        """The source of the job's module."""
        return self.contents[posixpath.relpath(self.path, self.root)]


def module_of(sources: Sources) -> ModuleType:
    """The job's module, made of these sources.

    Raises InvalidArgument when it fails to import (with the line that failed), or is being imported.
    """
    if outer := _importing.get():
        raise _unguarded(outer)
    if (module := _kept_module(sources)) is not None:
        return module
    for present, _ in _own_modules(sources).values():
        check_is_imported(present)
    with _one_at_a_time, _put_aside(sources):
        module = _import_module(sources)
        for present, path in _own_modules(sources).values():
            _seen[present] = (present.__spec__, _digest(sources, path))
        _kept.pop(sources.path, None)
        _kept[sources.path] = (sources.bundle.sha256, module)
        if len(_kept) > _MOST_KEPT:
            del _kept[next(iter(_kept))]
    return module


def _kept_module(sources: Sources) -> ModuleType | None:
    """The module that was made of these sources, unless it was reloaded as something else since, or the
    program's own are made of them by now."""
    digest, module = _kept.get(sources.path, ("", None))
    if module is None or digest != sources.bundle.sha256:
        return None
    own = _own_modules(sources)
    present, _ = own.get(sources.module, (None, ""))
    is_outdated = _has_older(sources, own)
    if present is module:  # which was looked at by that
        return None if is_outdated else module
    if not is_outdated and sources.module in _staying(sources, own):
        return None
    return None if _is_older(module, sha256(sources.own).digest(), sources.own) else module


def kept_modules() -> list[ModuleType]:
    """Modules of jobs of which the program may have others under their names."""
    return [module for _, module in list(_kept.values())]


def check_is_imported(module: ModuleType) -> None:
    """Raises InvalidArgument while a module is being imported: whoever imports it waits until that ends."""
    if getattr(module.__spec__, "_initializing", False):
        raise _unguarded(str(module.__file__))


def _unguarded(path: str) -> InvalidArgument:
    return InvalidArgument(
        f"{path} runs a job while it is being imported",
        hint=f"nodes import it, too: {_GUARD}",
    )


def _import_module(sources: Sources) -> ModuleType:
    try:
        return importlib.import_module(sources.module)
    except RingmillError:
        raise
    except (Exception, SystemExit) as error:
        line = _user_line(error, sources.root)
        raise InvalidArgument(
            f"{sources.path} fails to import: {type(error).__name__}: {error}{line}",
            hint=extra_hint(error) or _hint_for(sources.path),
        ) from error


def _hint_for(path: str) -> str:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is not None and posixpath.abspath(script) == path:
        return f"it is imported once more, as nodes do: {_GUARD}"
    return f"run it by itself for details: python {path}"


@contextmanager
def _put_aside(sources: Sources) -> Iterator[None]:
    """Meanwhile the root is first on the path, and modules of other files are not in the way.  If one of the
    job's own is older than its file, all of them are made anew: the others may hold parts of it."""
    own = _own_modules(sources)
    stay = set() if _has_older(sources, own) else _staying(sources, own)
    names = {*_paths(sources), *_folders(sources)}
    aside = {name: sys.modules[name] for name in names - stay if name in sys.modules}
    for name in aside:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, sources.root)
    importing = _importing.set(sources.path)
    try:
        yield
    finally:
        _importing.reset(importing)
        for name in names - stay - set(aside):
            if any(_is_within(name, each) for each in aside):
                sys.modules.pop(name, None)  # of a package that is not the program's
        sys.modules.update(aside)
        with suppress(ValueError):  # the module itself may have taken it off
            sys.path.remove(sources.root)


def _staying(sources: Sources, own: Mapping[str, tuple[ModuleType, str]]) -> set[str]:
    """The job's own modules, and its folders without an __init__.py as this program has them.  Where such a
    folder, or a module in it, is of another place, all in it are made anew: one that is there already would
    be unknown to a package made anew."""
    folders = _folders(sources)
    ours = {
        name
        for name in folders
        if f"{sources.root}/{name.replace('.', '/')}"
        in map(_normal, getattr(sys.modules.get(name), "__path__", ()))
    }
    strange = {name for name in folders - ours if name in sys.modules}
    others = {name for name in _paths(sources) if name in sys.modules} - set(own) | strange
    anew = {folder for folder in folders if any(_is_within(name, folder) for name in others)}
    return {name for name in {*own, *ours} if not any(_is_within(name, folder) for folder in anew)}


def _folders(sources: Sources) -> set[str]:
    """The packages above the job's modules that have no __init__.py."""
    names = _paths(sources)
    parts = [name.split(".") for name in names]
    return {".".join(each[:count]) for each in parts for count in range(1, len(each))} - set(names)


def _is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def _normal(path: object) -> str:
    return posixpath.abspath(str(path))


def _has_older(sources: Sources, own: Mapping[str, tuple[ModuleType, str]]) -> bool:
    return any(
        _is_older(module, _digest(sources, path), sources.contents[path]) for module, path in own.values()
    )


def _is_older(module: ModuleType, digest: bytes, source: bytes) -> bool:
    """Whether a module was made of another source.  Where it has no job, or its loader changes the code, as
    pytest's, that is not known; it counts as made of what its file was at the first submission."""
    jobs = [each for each in vars(module).values() if isinstance(each, Runnable)]
    made = {job.made_at for job in jobs if job.made_at.module == module.__name__}
    if made and type(getattr(module.__spec__, "loader", None)) is SourceFileLoader:
        return not any(each.is_source(source) for each in made)
    spec, seen = _seen.get(module, (None, b""))
    if module not in _seen or spec is not module.__spec__:
        _seen[module] = (module.__spec__, digest)
        return False
    return seen != digest


def _own_modules(sources: Sources) -> dict[str, tuple[ModuleType, str]]:
    """The modules that this program has of the job's files, each with its path."""
    present = [(name, sys.modules.get(name), path) for name, path in _paths(sources).items()]
    return {
        name: (module, path)
        for name, module, path in present
        if module is not None and _normal(getattr(module, "__file__", "")) == f"{sources.root}/{path}"
    }


def _paths(sources: Sources) -> dict[str, str]:
    """The path of each module by its name."""
    return {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in sources.contents
    }


def _digest(sources: Sources, path: str) -> bytes:
    return sha256(sources.contents[path]).digest()


def _user_line(error: BaseException, root: str) -> str:
    """The line of the user's own files where the error happened."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(root)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
