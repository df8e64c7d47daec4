"""Inputs that came with a submission: kept in a folder that all nodes see, each under the hash of its
content, so that one that is sent again is the same file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing, suppress
from hashlib import sha256
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.errors import InvalidArgument, Unavailable
from ringmill.cluster.ports import AppendFile, Entropy, FileSystem

__all__ = ["KeptInputs"]

MOST_BYTES: Final = 256 << 20
"""Of one input."""
_BLOCK_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
P = ParamSpec("P")
T = TypeVar("T")


class KeptInputs:
    """Files below `folder`/inputs; nothing of it is removed here.

    The folder may be on a network, so no call of it is done on the event loop.
    """

    def __init__(self, files: FileSystem, folder: str, entropy: Entropy) -> None:
        self._files = files
        self._folder = f"{folder}/inputs"
        self._entropy = entropy

    async def keep(self, name: str, pieces: AsyncIterator[bytes]) -> str:
        """Keep a file, and return its path.  It is on the disk by then.

        Raises InvalidArgument for a name that jobs would pass over, or one that says more than a name, and
        above 256 MiB; Unavailable when the disk refuses; what `pieces` raises.
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
            await self._to_its_end(self._remove, partly)

    async def _keep(self, name: str, pieces: AsyncIterator[bytes], partly: str) -> str:
        """Raises OSError."""
        digest = sha256()
        with ExitStack() as opened:
            file = await self._to_its_end(self._create, partly, opened)
            async for block in _blocks(pieces):
                if file.size + len(block) > MOST_BYTES:
                    raise InvalidArgument(f"input {name} has more than {MOST_BYTES} bytes")
                digest.update(block)
                await self._to_its_end(file.append, block)
            await self._to_its_end(file.sync)
        return await self._to_its_end(self._name, partly, f"{self._folder}/{digest.hexdigest()}", name)

    async def _to_its_end(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it on a thread.  Who is cancelled waits for it too: what comes next undoes what it does."""
        work = asyncio.ensure_future(self._files.off_loop(call, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        finally:
            await asyncio.wait([work])

    def _create(self, path: str, opened: ExitStack) -> AppendFile:
        """A new file that ends with `opened`.  Raises OSError."""
        self._files.mkdir(self._folder)
        return opened.enter_context(closing(self._files.create(path)))

    def _name(self, partly: str, place: str, name: str) -> str:
        """Give what is written its name in the folder `place`, and return the path.  Raises OSError."""
        self._files.mkdir(place)
        with suppress(FileExistsError):  # a job may read it: it is not replaced by its equal
            self._files.link(partly, f"{place}/{name}")
        for folder in (place, self._folder):
            self._files.fsync_dir(folder)
        return f"{place}/{name}"

    def _remove(self, path: str) -> None:
        if self._files.exists(path):
            self._files.unlink(path)


async def _blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks for which a thread is worth its while."""
    block = bytearray()
    async for piece in pieces:
        block += piece
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
