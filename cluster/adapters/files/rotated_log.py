"""A log file of bounded size: when it is full it becomes PATH.1, what was PATH.1 becomes PATH.2, and so on.

The process's stdout and stderr lead to the same file, and are led to the new one with each change, so that
what is not a record of `logging`, such as the trace of a crash, stands between the records of its time.
"""

from __future__ import annotations

import os
from logging.handlers import RotatingFileHandler
from typing import Final, TextIO

from ringmill.cluster.adapters.files.private_files import open_private

__all__ = ["RotatedLog"]

_STREAMS: Final = (1, 2)  # stdout and stderr


class RotatedLog(RotatingFileHandler):
    """Logs to the file at `path`, which only its owner can read.  The folder has to be there.

    There are at most `files` files, with about `most_bytes` in each.  Raises OSError.
    """

    def __init__(self, path: str, *, most_bytes: int, files: int) -> None:
        super().__init__(
            path, maxBytes=most_bytes, backupCount=files - 1, encoding="utf-8", errors="backslashreplace"
        )

    def _open(self) -> TextIO:  # type: ignore[override]  # it is no more than this in text mode
        descriptor = open_private(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in _STREAMS:
            os.dup2(descriptor, stream)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)
