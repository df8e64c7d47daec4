"""Where a contained process works, and how what an attempt leaves gets out of its reach.

What a process may write cannot be changed once it is contained, and it serves one attempt after the other.
So each process has two folders of its own: one in the scratch folder of its job, and one in the hidden folder
beside the output.  Their parents are written by nodes alone, so that no task can lead a node astray or change
what the node or another attempt has left there.  The node makes a folder for each attempt in them, and moves
it out when the attempt is done.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.os_errors import Meaning, error_text, meaning_of
from ringmill.cluster.ports import FileSystem

__all__ = ["Workplace", "put_away", "take_out"]

_OF_THE_JOB: Final = (Meaning.ABSENT, Meaning.FORBIDDEN, Meaning.TAKEN)


@dataclass(frozen=True, slots=True)
class Workplace:
    """The two folders of a process, absolute paths; its name is unique among all that share their parents."""

    scratch: str
    parts: str

    @classmethod
    def of(cls, process: str, scratch: str, parts: str) -> Workplace:
        return cls(f"{scratch}/.{process}", posixpath.join(parts, f".{process}"))

    @property
    def folders(self) -> tuple[str, str]:
        return self.scratch, self.parts

    def begin(self, files: FileSystem, attempt: str, *, is_part: bool) -> tuple[str, str]:
        """New folders for an attempt: to work in, and for what it leaves.  It waits for their disks.

        Raises TaskFailed if the job's code has put something there; OSError.
        """
        self._make(files)
        works_in = f"{self.scratch}/{attempt}"
        leaves_in = f"{self.parts}/{attempt}" if is_part else works_in
        for folder in dict.fromkeys((works_in, leaves_in)):
            try:
                files.make_folder(folder)
            except FileExistsError as error:
                text = f"the job's code has made a folder or file of another attempt: {attempt}"
                raise TaskFailed(Cause.USER_ERROR, text) from error
        return works_in, leaves_in

    def _make(self, files: FileSystem) -> None:
        """Make the folders, unless they are there.

        Without a hidden folder beside the output there is none in it: the job is over, or not planned.
        """
        with suppress(FileExistsError):
            files.make_folder(self.scratch)
        with suppress(FileExistsError, FileNotFoundError):
            files.make_folder(self.parts)


def take_out(files: FileSystem, source: str, target: str) -> None:
    """Move the folder of an attempt to where its process cannot write; an empty `target` is replaced.

    Raises TaskFailed when the job's code has left something else there; OSError.
    """
    try:
        files.rename(source, target)
    except OSError as error:
        if meaning_of(error) not in _OF_THE_JOB:
            raise
        text = f"the job's code deleted, locked or replaced the folder it works in: {error_text(error)}"
        raise TaskFailed(Cause.USER_ERROR, text) from error
    if files.is_link(target) or not files.is_dir(target):
        files.unlink(target)
        text = "the job's code has put a link or a file in place of the folder it works in"
        raise TaskFailed(Cause.USER_ERROR, text)


def put_away(files: FileSystem, folder: str, aside: str) -> None:
    """Remove the folder of an attempt whose process goes on, which could fill it as fast as it is emptied:
    so it is renamed to where that process cannot write.  Raises OSError."""
    with suppress(FileNotFoundError):
        files.rename(folder, aside)
    files.remove_tree(aside)
