"""Inputs and outputs that are written as URLs: file:// is a path, all others go through fsspec.

fsspec's local:// is a path, too, for what is written.  A store follows links and has no rename, so files of
this machine are never written as one: code of a job may have put a link there.

Pure: what the URL names is read and written in cluster/adapters/files/url_files.py.
"""

from __future__ import annotations

import re
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["input_of", "is_of_one_process", "is_url", "output_url_of", "path_of", "refuse_local_store"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # fsspec takes one letter for a drive
_CHAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::")
_FILE: Final = frozenset({"file"})
_OF_THIS_MACHINE: Final = frozenset({"file", "local"})
_OF_ONE_PROCESS: Final = frozenset({"memory"})


def is_url(text: str) -> bool:
    """Whether it is no path: paths begin with / or are relative, and file:// is taken off."""
    return _SCHEME.match(text) is not None


def is_of_one_process(text: str) -> bool:
    """Whether what the URL names lies in the memory of the process that asks for it."""
    found = _SCHEME.match(text)
    return found is not None and found[1].lower() in _OF_ONE_PROCESS


def path_of(name: str, text: str) -> str:
    """The path that `text` is or, as file://PATH or local://PATH, names; characters stand for themselves, as
    in fsspec.

    Raises InvalidArgument, which says `name`, for another URL.
    """
    path = _without(_OF_THIS_MACHINE, name, text)
    if is_url(path):
        raise InvalidArgument(
            f"{name} {text[:200]!r} is a URL; inputs and outputs may be, {name} is a path that all nodes see",
            hint="mount it, or copy it to where all nodes see it, and give the path",
        )
    return path


def input_of(name: str, text: str) -> str:
    """The same for what is read: a URL of another kind is given back as it is.

    Raises InvalidArgument for one that no two processes see alike.
    """
    path = _without(_FILE, name, text)
    found = _SCHEME.match(path)
    if _CHAIN.match(path) or (found and "::" in path):
        raise InvalidArgument(f"{name} {text[:200]!r} chains URLs by '::', which is not read")
    if is_of_one_process(path):
        raise InvalidArgument(
            f"{name} {text[:200]!r} lies in the memory of one process, and tasks run in others",
            hint="write it to a file, or to a store that all nodes see",
        )
    return path


def output_url_of(text: object) -> str:
    """The URL that an output is given as, without slashes at its end; "" for a path, which file:// and local://
    are too.

    Raises InvalidArgument for one that no two processes see alike, or that names no folder.
    """
    if not isinstance(text, str) or "://" not in text:
        return ""
    url = input_of("output", text)
    if not is_url(_without(_OF_THIS_MACHINE, "output", url)):
        return ""
    url = url.rstrip("/")
    if not is_url(f"{url}/") or url.endswith(":"):
        raise InvalidArgument(f"output {text[:200]!r} names no folder of a store")
    return url


def refuse_local_store(url: str) -> None:
    """Raise InvalidArgument for what is no URL of a store: the file system of this machine is none."""
    found = _SCHEME.match(url)
    if found is None or found[1].lower() in _OF_THIS_MACHINE:
        raise InvalidArgument(f"output {url[:200]!r} is a folder, and no store; give its path")


def _without(schemes: frozenset[str], name: str, text: str) -> str:
    """The path, where `text` is a URL of one of these schemes; else `text`."""
    found = _SCHEME.match(text)
    if found is None or found[1].lower() not in schemes:
        return text
    path = text[found.end() :]
    if not path.startswith("/"):
        raise InvalidArgument(f"{name} {text[:200]!r} names another machine; write file:///PATH")
    return path
