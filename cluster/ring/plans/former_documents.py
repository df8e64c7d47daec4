"""The documents of earlier epochs, kept small: each is compressed beside the one that followed it.

Two documents in turn differ by a few rows or a setting, so that 64 of them take little more room than one.
The oldest are dropped first.  Layout: docs/formats/control.md.  Pure.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import Epoch
from ringmill.cluster.ring.document import MAX_DOCUMENT_BYTES

__all__ = ["MAX_FORMER", "FormerDocuments"]

MAX_FORMER: Final = 64
_FORMAT_VERSION: Final = 1
_MAX_BYTES: Final = 256 * 1024  # of all former ones: a document of 4,096 partitions takes up to 30 KiB
_LEVEL: Final = 1
_NO_EPOCH: Final = Epoch(0)


class _Entry(NamedTuple):
    epoch: Epoch
    packed: bytes


@dataclass(frozen=True, slots=True)
class FormerDocuments:
    """The newest document that was seen, and those before it, oldest first."""

    epoch: Epoch = _NO_EPOCH
    newest: bytes = b""
    entries: tuple[_Entry, ...] = ()

    def followed_by(self, epoch: Epoch, document: bytes) -> FormerDocuments:
        """With the document of a later epoch as the newest; one that is no later changes nothing."""
        if epoch <= self.epoch:
            return self
        entries = self.entries
        if self.newest:
            entries = (*entries, _Entry(self.epoch, _packed(self.newest, beside=document)))[-MAX_FORMER:]
        while sum(len(entry.packed) for entry in entries) > _MAX_BYTES:
            entries = entries[1:]
        return FormerDocuments(epoch, document, entries)

    def epochs(self) -> tuple[Epoch, ...]:
        """The epochs whose documents are here, oldest first."""
        return (*(entry.epoch for entry in self.entries), *((self.epoch,) if self.newest else ()))

    def find(self, epoch: Epoch) -> bytes | None:
        """The document of an epoch; None when it is not here.  Raises CorruptData."""
        if epoch == self.epoch:
            return self.newest or None
        document = self.newest
        for entry in reversed(self.entries if epoch in self.epochs() else ()):
            document = _unpacked(entry.packed, beside=document)
            if entry.epoch == epoch:
                return document
        return None

    def encode(self) -> bytes:
        packed: bytes = msgpack.packb(
            [_FORMAT_VERSION, self.epoch, _packed(self.newest), [list(entry) for entry in self.entries]]
        )
        return packed

    @classmethod
    def decode(cls, data: bytes) -> FormerDocuments:
        """Raises CorruptData."""
        try:
            version, epoch, newest, entries = msgpack.unpackb(data)
            if version != _FORMAT_VERSION:
                raise CorruptData(f"former topology documents have format version {version}")
            former = tuple(_Entry(Epoch(each), _bytes(packed)) for each, packed in entries)
            return cls(Epoch(epoch), _unpacked(_bytes(newest)), former)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise CorruptData(f"former topology documents cannot be read: {error}") from error


def _packed(document: bytes, beside: bytes = b"") -> bytes:
    packer = zlib.compressobj(_LEVEL, zdict=beside) if beside else zlib.compressobj(_LEVEL)
    return packer.compress(document) + packer.flush()


def _unpacked(packed: bytes, beside: bytes = b"") -> bytes:
    unpacker = zlib.decompressobj(zdict=beside) if beside else zlib.decompressobj()
    try:
        document = unpacker.decompress(packed, MAX_DOCUMENT_BYTES)
    except zlib.error as error:
        raise CorruptData(f"a former topology document cannot be read: {error}") from error
    if not unpacker.eof:
        raise CorruptData("a former topology document is cut off")
    return document


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} in place of bytes")
    return value
