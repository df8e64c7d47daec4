"""Inputs that came with submissions: kept in a folder that all nodes see, each under the hash of its
content, so that one that is sent again is the same file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.errors import InvalidArgument, Unavailable
from ringmill.cluster.ports import AppendFile, Entropy, FileSystem

__all__ = ["KeptInputs", "WrittenInput"]

MOST_BYTES: Final = 256 << 20
"""The most bytes of one input."""
_BLOCK_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WrittenInput:
    """An input that is on the disk: where it was written, and the path that a job reads it by."""

    partly: str
    path: str

    @property
    def mark(self) -> str:
        """The name that the file has, too, once a second form has found it there."""
        folder, _, name = self.path.rpartition("/")
        return f"{folder}/.{name}"


class KeptInputs:
    """Files in `folder`/inputs, which several gateways may share.

    The folder may be on a network, so no call of it is done on the event loop.
    """

    def __init__(self, files: FileSystem, folder: str, entropy: Entropy) -> None:
        self._files = files
        self._folder = f"{folder}/inputs"
        self._entropy = entropy

    async def write(self, name: str, pieces: AsyncIterator[bytes]) -> WrittenInput:
        """Write a file, which does not have the name for jobs yet.  It is on the disk by then.

        Raises InvalidArgument for a name that jobs would pass over, or one that says more than a name, and
        above 256 MiB; Unavailable when the disk refuses; what `pieces` raises.  Then nothing of it is left.
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"the name {name[:100]!r} of an input is not of letters, digits, dots and dashes alone"
            )
        partly = f"{self._folder}/.{self._entropy.random_bytes('gateway.input', 8).hex()}"
        try:
            digest = await self._write(name, pieces, partly)
        except OSError as error:
            await self._to_its_end(self._remove, partly)
            raise Unavailable(f"input {name} cannot be kept: {error.strerror}", outcome="failed") from error
        except BaseException:
            await self._to_its_end(self._remove, partly)
            raise
        return WrittenInput(partly, f"{self._folder}/{digest}-{name}")

    async def name(self, written: WrittenInput) -> bool:
        """Give a file the name for jobs; whether no file had it.  Raises Unavailable."""
        try:
            return await self._to_its_end(self._name, written)
        except OSError as error:
            raise Unavailable(
                f"input {written.path} cannot be kept: {error.strerror}", outcome="failed"
            ) from error

    async def withdraw(self, written: WrittenInput) -> None:
        """Take the name from a file that has got it by `name`, unless another form has found it meanwhile.

        What the disk refuses stays.
        """
        with suppress(OSError):
            await self._to_its_end(self._withdraw, written)

    async def forget(self, written: WrittenInput) -> None:
        """Remove what was written; the file stays if it has a name for jobs."""
        with suppress(OSError):
            await self._to_its_end(self._remove, written.partly)

    async def _write(self, name: str, pieces: AsyncIterator[bytes], partly: str) -> str:
        """The hash of the content.  Raises OSError."""
        digest = sha256()
        with ExitStack() as opened:
            file = await self._to_its_end(self._create, partly, opened)
            async for block in _blocks(pieces):
                if file.size + len(block) > MOST_BYTES:
                    raise InvalidArgument(f"input {name} has more than {MOST_BYTES} bytes")
                digest.update(block)
                await self._to_its_end(file.append, block)
            await self._to_its_end(file.sync)
        return digest.hexdigest()

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

    def _name(self, written: WrittenInput) -> bool:
        is_new = self._link_if_free(written.partly, written.path)
        if not is_new:  # a job may read it: it is not replaced by its equal
            is_new = not self._put_mark(written)
        self._files.fsync_dir(self._folder)
        return is_new

    def _put_mark(self, written: WrittenInput) -> bool:
        """Returns whether the file was there and has its mark now.  It is there in any case.  Raises OSError.

        Who withdraws it looks for the mark before the removal and after it, so here it is put first.
        """
        try:
            self._link_if_free(written.path, written.mark)
        except FileNotFoundError:
            return not self._link_if_free(written.partly, written.path)
        self._link_if_free(written.partly, written.path)
        return True

    def _withdraw(self, written: WrittenInput) -> None:
        if self._files.exists(written.mark):
            return
        self._files.unlink(written.path)
        if self._files.exists(written.mark):
            self._link_if_free(written.partly, written.path)

    def _link_if_free(self, source: str, target: str) -> bool:
        """Returns whether the target was free; then it is the source now.  Raises OSError."""
        try:
            self._files.link(source, target)
        except FileExistsError:
            return False
        return True

    def _remove(self, path: str) -> None:
        if self._files.exists(path):
            self._files.unlink(path)


async def _blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes, in blocks for which a thread is worth its while."""
    block = bytearray()
    async for piece in pieces:
        block += piece
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
