"""The second copy of a node's control state: one small file beside IDENTITY, outside the engine.

A damaged block or log may destroy the engine's copy.  Without its topology a node could not serve, nor find
the owners that can heal it.  Layout: docs/formats/control.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData, DiskFull, ProtocolMismatch, Unavailable
from ringmill.cluster.os_errors import is_full
from ringmill.cluster.ports import FileSystem
from ringmill.node.identity.guarded_file import (
    decode_copies,
    encode_copies,
    read_around,
    replace_file,
    wait_readable,
)

__all__ = ["FILE_NAME", "ControlCopy", "decode_control", "encode_control"]

FILE_NAME: Final = "CONTROL"
FORMAT_VERSION: Final = 1


class ControlCopy:
    """The file `CONTROL` of a data folder."""

    def __init__(self, folder: str, files: FileSystem) -> None:
        self._path = f"{folder}/{FILE_NAME}"
        self._files = files

    async def read(self) -> dict[str, bytes] | None:
        """The last written values; None when nothing can be read, some seconds later either (rule E10).

        Raises ProtocolMismatch when a later release has written them.
        """
        await wait_readable(self._files, [self._path])
        if not self._files.exists(self._path):
            return None
        try:
            return decode_control(read_around(self._files, self._path))
        except CorruptData:
            return None

    def holds(self, values: Mapping[str, bytes]) -> bool:
        """Whether the file holds exactly these values and is undamaged."""
        exists = self._files.exists(self._path)
        return exists and read_around(self._files, self._path) == encode_control(values)

    async def write(self, values: Mapping[str, bytes]) -> None:
        """Write the values durably.  Raises Unavailable and DiskFull; then they may or may not be stored."""
        try:
            await replace_file(self._files, self._path, encode_control(values))
        except OSError as error:
            kind = DiskFull if is_full(error) else Unavailable
            raise kind(f"the second copy of the control state cannot be written: {error}") from error


def encode_control(values: Mapping[str, bytes]) -> bytes:
    packed: bytes = msgpack.packb([FORMAT_VERSION, dict(sorted(values.items()))])
    return encode_copies(packed)


def decode_control(data: bytes) -> dict[str, bytes]:
    """Raises CorruptData, ProtocolMismatch."""
    try:
        fields: Any = msgpack.unpackb(decode_copies(data))
        version = fields[0]
        if type(version) is int and version > FORMAT_VERSION:
            raise ProtocolMismatch(
                f"{FILE_NAME} was written by a newer release: version {version}, know {FORMAT_VERSION}",
                hint="start that release again",
            )
        if version != FORMAT_VERSION:
            raise ValueError(f"version {version!r:.40}, know {FORMAT_VERSION}")
        _, values = fields
        return {str(name): bytes(value) for name, value in values.items()}
    except (ValueError, TypeError, AttributeError, LookupError, msgpack.UnpackException) as error:
        raise CorruptData(f"{FILE_NAME} ({len(data)} bytes) does not decode: {error}") from error
