"""Who this data folder is: its node, its disk id, which start this is, and which actors were used.

One small text file, IDENTITY, replaced as a whole: written beside, synced, renamed, folder synced.  Opening
it raises the start number and takes the clean-stop mark away, both on the disk before anything is served,
so that a start after a crash knows that it may have forgotten something.  Copies of a folder's data never
include it.  Layout: docs/formats/identity.md.
"""

from __future__ import annotations

import asyncio
import posixpath
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

from cluster.errors import CorruptData, InvalidArgument, Unavailable
from cluster.ids import DiskId, NodeId, Start
from cluster.ports import Entropy, FileSystem

__all__ = ["ACTOR_BLOCK", "FILE_NAME", "Identity", "IdentityRecord", "decode_identity", "encode_identity"]

FILE_NAME: Final = "IDENTITY"
MAGIC: Final = "ringmill-identity 1"
ACTOR_BLOCK: Final = 1024
_FIELDS: Final = ("node", "disk", "start", "boot", "next-actor", "clean-stop")


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """The file's content.  Actor numbers below `next_actor` may have been used."""

    node: NodeId
    disk: DiskId
    start: Start
    next_actor: int
    is_clean_stop: bool


class Identity:
    """The identity of a running node.  `was_clean`: the former start ended by `mark_clean_stop`."""

    def __init__(self, path: str, record: IdentityRecord, files: FileSystem, *, was_clean: bool) -> None:
        self.was_clean = was_clean
        self._path = path
        self._record = record
        self._files = files
        self._next_actor = record.next_actor
        self._reserving: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, folder: str, node: NodeId, *, files: FileSystem, entropy: Entropy) -> Identity:
        """Begin a start: number raised, mark removed, both synced.  A folder without identity gets one.

        Raises InvalidArgument when the folder is another node's, CorruptData when the file is damaged,
        OSError when it cannot be written.
        """
        path = posixpath.join(folder, FILE_NAME)
        boot = entropy.random_bytes("boot", 8).hex()
        if files.exists(path):
            former = decode_identity(files.read_bytes(path))
            if former.node != node:
                raise InvalidArgument(
                    f"{folder} is the data of node {former.node}, this is {node}",
                    hint="start the node with its own id, or with a folder of its own",
                )
        else:
            _make_folder(files, folder)
            disk = DiskId(entropy.random_bytes("disk", 16).hex())
            former = IdentityRecord(node, disk, Start(0, ""), next_actor=1, is_clean_stop=False)
        record = replace(former, start=Start(former.start.number + 1, boot), is_clean_stop=False)
        identity = cls(path, former, files, was_clean=former.is_clean_stop)
        await identity._write(record)
        return identity

    @property
    def node(self) -> NodeId:
        return self._record.node

    @property
    def disk(self) -> DiskId:
        return self._record.disk

    @property
    def start(self) -> Start:
        return self._record.start

    async def take_actor_number(self) -> int:
        """A number that no copy of this node was ever given, reserved on the disk before it is returned.

        Raises Unavailable (nothing happened) when it cannot be reserved.
        """
        while self._next_actor == self._record.next_actor:
            try:
                await asyncio.shield(self._reservation())
            except OSError as error:
                raise Unavailable(f"no actor number can be reserved: {error}") from error
        self._next_actor += 1
        return self._next_actor - 1

    async def mark_clean_stop(self) -> None:
        """The last act of a stop: everything is on the disk, the next start has forgotten nothing."""
        if self._reserving is not None:
            await asyncio.wait([self._reserving])
        await self._write(replace(self._record, next_actor=self._next_actor, is_clean_stop=True))

    def _reservation(self) -> asyncio.Task[None]:
        """One write for all who wait; a request that ends meanwhile does not tear it."""
        if self._reserving is None or self._reserving.done():
            record = replace(self._record, next_actor=self._next_actor + ACTOR_BLOCK)
            self._reserving = asyncio.create_task(self._write(record), name=f"reserve actors {self.node}")
        return self._reserving

    async def _write(self, record: IdentityRecord) -> None:
        """Put a record on the disk; only then is it this identity's own."""
        beside = self._path + ".new"
        if self._files.exists(beside):  # left by a crash
            self._files.unlink(beside)
        file = self._files.create(beside)
        try:
            await file.append_and_sync(encode_identity(record))
        finally:
            file.close()
        self._files.rename(beside, self._path)
        await self._files.off_loop(self._files.fsync_dir, posixpath.dirname(self._path))
        self._record = record


def encode_identity(record: IdentityRecord) -> bytes:
    """The file's bytes: a line a field, and a checksum of all before it."""
    values = (
        record.node, record.disk, record.start.number, record.start.boot,
        record.next_actor, int(record.is_clean_stop),
    )  # fmt: skip
    lines = [MAGIC, *(f"{name} {value}" for name, value in zip(_FIELDS, values, strict=True))]
    body = "\n".join(lines) + "\n"
    return f"{body}crc32 {crc32(body.encode()):08x}\n".encode()


def decode_identity(data: bytes) -> IdentityRecord:
    """Raises CorruptData unless the bytes are exactly what `encode_identity` writes."""
    try:
        lines = data.decode().split("\n")
        fields = dict(line.split(" ", 1) for line in lines[1 : len(_FIELDS) + 1])
        record = IdentityRecord(
            NodeId(fields["node"]),
            DiskId(fields["disk"]),
            Start(int(fields["start"]), fields["boot"]),
            int(fields["next-actor"]),
            fields["clean-stop"] == "1",
        )
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise _damaged(len(data)) from error
    if encode_identity(record) != data:
        raise _damaged(len(data))
    return record


def _make_folder(files: FileSystem, folder: str) -> None:
    files.mkdir(folder)
    parent = posixpath.dirname(folder.rstrip("/"))
    if parent:
        files.fsync_dir(parent)


def _damaged(size: int) -> CorruptData:
    return CorruptData(
        f"{FILE_NAME} ({size} bytes) is damaged or of another version",
        hint="this folder cannot prove whose it is: start the node with an empty one, to be filled anew",
    )
