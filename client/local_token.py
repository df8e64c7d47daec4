"""Finds the token of a local cluster by the address of one of its nodes, and reads it again now and then.

`ringmill cluster up` writes `HOME/NAME/cluster.json` and `HOME/NAME/token` (mode 0600); a user who can read
the token file may run jobs.  Files are read through the given door, and trusted only when no other user can
have written them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection
from typing import Final

from ringmill.cluster.errors import PermissionDenied, RingmillError
from ringmill.cluster.ports import Clock, FileSystem

__all__ = ["FollowedToken", "find_token_file", "name_found_token", "read_token_file"]

_LOOK_EVERY_S: Final = 0.5  # sooner than nodes take over what the file holds


def _believe(_path: str) -> str:
    return ""


class FollowedToken:
    """Tells the token that `read` gives, which is asked again every half second at most (rule F9).

    A file that cannot be read later, or is empty, leaves the token that it had.
    """

    def __init__(self, read: Callable[[], str], clock: Clock) -> None:
        """Raises what `read` raises."""
        self._read = read
        self._clock = clock
        self._text = read()
        self._looked_at = clock.monotonic()

    def __call__(self) -> str:
        now = self._clock.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            with contextlib.suppress(RingmillError, OSError):
                self._text = self._read() or self._text
        return self._text


def find_token_file(
    files: FileSystem, home: str, addresses: Collection[str], distrust: Callable[[str], str] = _believe
) -> str:
    """The file with the token of the cluster in `home` that one of `addresses` belongs to; "" when there is
    none.

    `distrust` says why another user may have written a file; "" when none can.
    Raises PermissionDenied when the token cannot be trusted.
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
            return f"{folder}/token"
    return ""


def name_found_token(error: RingmillError, path: str) -> None:
    """Say where the token of a client came from whose nodes did not prove that they know it, if it was found
    in a file ("": it was not)."""
    if path and error.detail.get("proved") is False:
        error.hint = (
            f"no token was given, so that in {path} was taken, of a local cluster that has this address too: "
            "give the one of these nodes (--token-file, token=, RINGMILL_TOKEN), or set RINGMILL_HOME"
        )


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


def read_token_file(files: FileSystem, path: str) -> str:
    """What a token file holds.  Raises PermissionDenied."""
    try:
        return files.read_bytes(path).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermissionDenied(
            f"the cluster's token in {path} cannot be read: {error}",
            hint="only the user of the nodes may read it; else give the token with RINGMILL_TOKEN or token=",
        ) from error
