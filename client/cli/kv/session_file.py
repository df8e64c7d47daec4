"""`--session FILE`: what a session has seen, kept in a file from one command to the next.

The file is made for its owner alone and replaced as a whole, so that a command that is killed leaves the old
one or the new one.  Commands that run at once on one file do not see each other: the last to end wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import click

from ringmill.client.session_memory import SessionMemory
from ringmill.cluster.adapters.files.private_files import distrust, open_private
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient

__all__ = ["kept_session", "session_option"]

_LONGEST_BYTES: Final = 1 << 20

Verb = TypeVar("Verb", bound=Callable[..., object])


def session_option(verb: Verb) -> Verb:
    """--session, of the verbs on one key."""
    return click.option(
        "--session",
        type=click.Path(),
        metavar="FILE",
        help="read and write as the session kept in FILE: never older than what it has seen",
    )(verb)


@contextmanager
def kept_session(path: str | None, db: AsyncClient) -> Iterator[SessionMemory | None]:
    """The session of a file, a new one where there is no file; kept there again at the end, however that
    comes.  None without a path.

    Raises InvalidArgument for a file that is not a session of this cluster, or cannot be read or written:
    before the request, unless the disk fails under it.
    """
    if path is None:
        yield None
        return
    cluster = db.topology.cluster
    token = _read(path)
    try:
        memory = SessionMemory(cluster) if token is None else SessionMemory.decode(token, cluster)
    except InvalidArgument as error:
        raise _refused(path, error.message, "name another file to begin a new session") from error
    draft = _new_draft(path)  # while nothing has been sent yet
    try:
        yield memory
    finally:
        _replace(path, draft, memory.encode())


def _read(path: str) -> bytes | None:
    """None where there is no file."""
    try:
        if why := distrust(path):
            raise _refused(path, why, "name a file of your own")
        with open(path, "rb") as file:
            return file.read(_LONGEST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, error.strerror or str(error), "name a file of your own") from error


def _new_draft(path: str) -> str:
    """A file beside it that is going to take its place."""
    draft = f"{path}.{os.getpid()}"
    try:
        os.close(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    except OSError as error:
        raise _refused(path, error.strerror or str(error), "name a file in a folder of your own") from error
    return draft


def _replace(path: str, draft: str, token: bytes) -> None:
    try:
        with open(open_private(draft, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(token)
        os.replace(draft, path)
    except OSError as error:
        refusal = _refused(path, error.strerror or str(error), "name a file in a folder of your own")
        refusal.detail["changed"] = "the request was sent, and what the session has seen of it is not kept"
        raise refusal.with_outcome("unknown") from error


def _refused(path: str, why: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"--session {path}: {why}", hint=hint)
