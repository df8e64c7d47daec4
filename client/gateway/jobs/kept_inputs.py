"""Inputs that came with a submission: kept in a folder that all nodes see, each under the hash of its
content, so that one that is sent again is the same file.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from typing import Final

from ringmill.cluster.errors import InvalidArgument, Unavailable
from ringmill.cluster.ports import Entropy, FileSystem

__all__ = ["KeptInputs"]

MOST_BYTES: Final = 256 << 20
"""Of one input."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class KeptInputs:
    """Files below `folder`/inputs; nothing of it is removed here."""

    def __init__(self, files: FileSystem, folder: str, entropy: Entropy) -> None:
        self._files = files
        self._folder = f"{folder}/inputs"
        self._entropy = entropy

    async def keep(self, name: str, pieces: AsyncIterator[bytes]) -> str:
        """Keep a file, and return its path.

        Raises InvalidArgument for a name that jobs would pass over, or one that says more than a name, and
        above 256 MiB; Unavailable when the disk refuses.
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"the name {name[:100]!r} of an input is not of letters, digits, dots and dashes alone"
            )
        partly = f"{self._folder}/.{self._entropy.random_bytes('gateway.input', 8).hex()}"
        try:
            return await self._keep(name, pieces, partly)
        except OSError as error:
            raise Unavailable(f"input {name} cannot be kept: {error.strerror}", outcome="failed") from error
        finally:
            if self._files.exists(partly):
                self._files.unlink(partly)

    async def _keep(self, name: str, pieces: AsyncIterator[bytes], partly: str) -> str:
        """Raises OSError."""
        files = self._files
        files.mkdir(self._folder)
        digest = sha256()
        file = files.create(partly)
        try:
            async for piece in pieces:
                if file.size + len(piece) > MOST_BYTES:
                    raise InvalidArgument(f"input {name} has more than {MOST_BYTES} bytes")
                digest.update(piece)
                file.append(piece)
        finally:
            file.close()
        place = f"{self._folder}/{digest.hexdigest()}"
        files.mkdir(place)
        with suppress(FileExistsError):  # a job may read it: it is not replaced by its equal
            files.link(partly, f"{place}/{name}")
        return f"{place}/{name}"
