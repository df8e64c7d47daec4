"""Finds the token of a local cluster by the address of one of its nodes.

`ringmill cluster up` writes `HOME/NAME/cluster.json` and `HOME/NAME/token` (mode 0600); a user who can read
the token file may run jobs.  Files are read through the given door, and trusted only when no other user can
have written them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from ringmill.cluster.errors import PermissionDenied
from ringmill.cluster.ports import FileSystem

__all__ = ["find_token"]


def _believe(_path: str) -> str:
    return ""


def find_token(
    files: FileSystem, home: str, addresses: Collection[str], distrust: Callable[[str], str] = _believe
) -> str:
    """The token of the cluster in `home` that one of `addresses` belongs to; "" when there is none.

    `distrust` says why another user may have written a file; "" when none can.
    Raises PermissionDenied when the token cannot be read or trusted.
    """
    for folder in _folders(files, home):
        is_whole = files.exists(f"{folder}/cluster.json") and files.exists(f"{folder}/token")
        if not is_whole or distrust(f"{folder}/cluster.json"):
            continue
        if _addresses_of(files, f"{folder}/cluster.json") & set(addresses):
            if why := distrust(f"{folder}/token"):
                raise PermissionDenied(
                    f"{folder}/token is not trusted: {why}", hint="`ls -l` shows whose it is"
                )
            return _read_token(files, f"{folder}/token")
    return ""


def _folders(files: FileSystem, home: str) -> list[str]:
    try:
        return [f"{home}/{name}" for name in files.list(home)] if files.is_dir(home) else []
    except OSError:
        return []


def _addresses_of(files: FileSystem, path: str) -> set[str]:
    """The addresses of a cluster's nodes; none when its file is damaged, because one damaged cluster must not
    keep the user from the others."""
    try:
        return {node["address"] for node in json.loads(files.read_bytes(path))["nodes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _read_token(files: FileSystem, path: str) -> str:
    try:
        return files.read_bytes(path).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermissionDenied(
            f"the cluster's token in {path} cannot be read: {error}",
            hint="only the user of the nodes may read it; else give the token with RINGMILL_TOKEN or token=",
        ) from error
