"""The identity of a data folder: its node, its disk id, the number of this start, and earlier starts.

Two small text files, IDENTITY and IDENTITY.copy, hold the record twice each.  They are replaced one after the
other: write a new file, sync, rename, sync the folder.  Opening raises the start number on the disk before
anything is served, and repairs damaged copies.  A checkpoint never includes these files. Rules I1 and I6:
docs/protocol/identity.md.  Layout: docs/formats/identity.md.
"""

from __future__ import annotations

import asyncio
import posixpath
from dataclasses import replace
from typing import Final

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.start_rules import EARLIER_STARTS
from ringmill.cluster.ports import Entropy, FileSystem
from ringmill.node.identity.guarded_file import replace_file, wait_readable
from ringmill.node.identity.identity_record import IdentityRecord, newest_record, record_copies
from ringmill.node.identity.store_name import FILE_NAME as STORE_NAME
from ringmill.node.identity.store_name import left_files, missing_from_store, name_store, newest_manifest
from ringmill.node.storage.log.readable_parts import Readable, read_parts

__all__ = ["FILE_NAMES", "FolderRefused", "Identity", "check_store", "read_identity", "take_store"]

FILE_NAMES: Final = ("IDENTITY", "IDENTITY.copy")


class FolderRefused(CorruptData):
    """This data folder is not the one that the cluster counts on (I5, I6).

    The node ends: it may have forgotten what it acked, so even to answer "not found" would be wrong.
    """


class Identity:
    """The identity of a running node."""

    def __init__(self, folder: str, record: IdentityRecord, files: FileSystem) -> None:
        self._folder = folder
        self.record = record
        self._files = files
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, folder: str, node: NodeId, *, files: FileSystem, entropy: Entropy) -> Identity:
        """Begin a start: raise its number durably.  A folder without an identity gets one.

        Raises InvalidArgument when the folder belongs to another node; FolderRefused when it is known to be
        an old copy; CorruptData when every copy is damaged; OSError when it cannot be written.
        """
        boot = entropy.random_bytes("boot", 8).hex()
        former = read_identity(files, folder)
        if former is None:
            _make_folder(files, folder)
            disk = DiskId(entropy.random_bytes("disk", 16).hex())
            record = IdentityRecord(node, disk, Start(1, boot))
        else:
            if former.node != node:
                raise InvalidArgument(
                    f"{folder} is the data of node {former.node}, this is {node}",
                    hint="start the node with its own id, or with a folder of its own",
                )
            if former.superseded is not None:
                raise _old_copy(folder, former, former.superseded)
            record = replace(
                former,
                start=Start(former.start.number + 1, boot),
                edition=former.edition + 1,
                earlier=(former.start, *former.earlier)[:EARLIER_STARTS],
            )
        store = posixpath.join(folder, "store")
        if files.is_dir(store):
            await name_store(files, store, record.disk)  # before the identity refers to it
            record = replace(record, store=newest_manifest(files, store), left=())
        identity = cls(folder, record, files)
        await identity._write(record)
        return identity

    async def note_left(self) -> None:
        """Record the store's files at the end of a stop; the next start must find them.

        They are synced first.  A stop may interrupt an edit of the manifest between its write and its sync;
        after a power cut its bytes would be gone, and the next start would miss them.  Raises OSError.
        """
        store = posixpath.join(self._folder, "store")
        left = left_files(self._files, store)
        for name, _ in left:
            await self._files.off_loop(_sync, self._files, f"{store}/{name}")
        async with self._writing:
            await self._write(replace(self.record, edition=self.record.edition + 1, left=left))

    async def refuse(self, known: Start) -> FolderRefused:
        """Record that the cluster knows a start on newer data, so that no later start of this folder serves.

        Returns the error to raise.
        """
        async with self._writing:
            await self._write(replace(self.record, edition=self.record.edition + 1, superseded=known))
        return _old_copy(self._folder, self.record, known)

    @property
    def node(self) -> NodeId:
        return self.record.node

    @property
    def disk(self) -> DiskId:
        return self.record.disk

    @property
    def start(self) -> Start:
        return self.record.start

    @property
    def earlier(self) -> tuple[Start, ...]:
        """Earlier starts of this folder, newest first, as far as they are recorded."""
        return self.record.earlier

    async def _write(self, record: IdentityRecord) -> None:
        """Write a record durably, then adopt it."""
        await _write_record(self._files, self._folder, record)
        self.record = record


async def take_store(files: FileSystem, folder: str) -> None:
    """Check the store like `check_store`, then forget the files that the last stop recorded.

    After that an engine may be opened.  Opening changes these files long before the identity records the
    start, and a start killed in between must not make the next one report a lost store.  What the disk cannot
    read of these files is read again some seconds later (rule E10).  Raises what `check_store` raises.
    """
    await wait_readable(
        files, [posixpath.join(folder, name) for name in (*FILE_NAMES, f"store/{STORE_NAME}")]
    )
    check_store(files, folder)
    record = read_identity(files, folder)
    if record is not None and record.left:
        await _write_record(files, folder, replace(record, edition=record.edition + 1, left=()))


def check_store(files: FileSystem, folder: str) -> None:
    """Raises FolderRefused when the folder's store is not the one that its identity knows.

    Also raises CorruptData and OSError.  Call it before the store is opened, because an engine creates a new
    store in an empty folder.
    """
    record = read_identity(files, folder)
    why = missing_from_store(files, posixpath.join(folder, "store"), record) if record else ""
    if record and why:
        raise FolderRefused(
            f"{folder}/store is not the store that {record.node} left (disk {record.disk}): {why}; what it "
            "held may be lost",
            hint=f"give {record.node} its own store back, or make the folder a new node's: "
            f"ringmill node reset {folder}",
        )


def read_identity(files: FileSystem, folder: str) -> IdentityRecord | None:
    """The record in force, None for a folder without identity.  Raises CorruptData, OSError.

    A file that the disk cannot read counts as damaged: the other one has all that was ever served under.
    """
    paths = [path for name in FILE_NAMES if files.exists(path := posixpath.join(folder, name))]
    contents = [read_parts(files, path, reads_around=True) for path in paths]
    found = newest_record(content.data for content in contents)
    if found is None and paths:
        raise CorruptData(
            f"every copy of the identity of {folder} is damaged, or of another version "
            f"({_sizes(paths, contents)})",
            hint="this folder cannot prove whose it is: give the node its newest one, or reset it",
        )
    return found


def _sync(files: FileSystem, path: str) -> None:
    file = files.open_append(path)
    try:
        file.sync()
    finally:
        file.close()


async def _write_record(files: FileSystem, folder: str, record: IdentityRecord) -> None:
    """Write one file after the other, so that a power cut leaves at least one whole."""
    data = record_copies(record)
    for name in FILE_NAMES:
        await replace_file(files, posixpath.join(folder, name), data)


def _old_copy(folder: str, record: IdentityRecord, known: Start) -> FolderRefused:
    """The error of a start on a rolled-back folder."""
    newer = f"of start {known.number}"
    if known == record.start:
        newer = "of this very start, so its machine was put back to a snapshot, or runs twice"
    return FolderRefused(
        f"{folder} is an old copy of {record.node}'s data: this is start {record.start.number}, and the "
        f"cluster has seen newer data, {newer}",
        hint=f"give {record.node} its own folder back, or make this one a new node's: "
        f"ringmill node reset {folder}",
    )


def _sizes(paths: list[str], contents: list[Readable]) -> str:
    return ", ".join(
        f"{posixpath.basename(path)}: {len(content.data)} bytes"
        f"{'' if content.is_whole else ' that the disk cannot read'}"
        for path, content in zip(paths, contents, strict=True)
    )


def _make_folder(files: FileSystem, folder: str) -> None:
    files.mkdir(folder)
    parent = posixpath.dirname(folder.rstrip("/"))
    if parent:
        files.fsync_dir(parent)
