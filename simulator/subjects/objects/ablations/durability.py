"""Safeguards of what is on a disk: syncs, recovery, damaged blocks, numbers of files."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any, Final

import ringmill.node.replica.object_store
import ringmill.node.replica.serving
import ringmill.node.requests.write_dispatcher
import ringmill.node.storage.engine
import ringmill.node.storage.recovery.opening
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ports import FileSystem
from ringmill.node.replica.object_batch import on_durable, wait_durable
from ringmill.node.storage.engine import Engine, OnDurable
from ringmill.node.storage.names import parse_name
from ringmill.node.storage.recovery.opening import Opened, open_folder
from ringmill.node.storage.upkeep.torn_log import replace_torn_log
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.disk.start_files import StartAppendFile, StartFiles
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method
from ringmill.simulator.world.node_process import NodeProcess

__all__ = ["DURABILITY"]


async def _wait_for_nothing(commit: object, durability: object) -> None:
    return


def _sync_before_ack() -> Patches:
    def call_at_once(commit: object, durability: object, callback: OnDurable) -> None:
        callback(None)

    modules = (ringmill.node.replica.serving, ringmill.node.requests.write_dispatcher)
    held = [function(module, wait_durable, _wait_for_nothing) for module in modules]
    return (*held, *(function(module, on_durable, call_at_once) for module in modules))


def _folder_sync() -> Patches:
    return (method(StartFiles.fsync_dir, lambda files, path: None),)


def _recovered_synced() -> Patches:
    return (
        function(
            ringmill.node.storage.recovery.opening,
            ringmill.node.storage.recovery.opening._make_durable,
            lambda files, folder, name, *, reads_around: True,
        ),
    )


def _recovered_rewritten() -> Patches:
    """A start syncs what it has read, and believes the system that all of it is on the disk then."""

    def sync(files: StartFiles, path: str) -> None:
        files.open_append(path).sync()

    return (method(StartFiles.rewrite, sync),)


def _failed_sync_is_final() -> Patches:
    """A sync that failed is tried again, and what waited for it is acknowledged when that works."""
    append_and_sync = StartAppendFile.append_and_sync

    async def insist(file: StartAppendFile, data: bytes, *, off_loop: bool = False) -> None:
        size = file.size + len(data)
        try:
            await append_and_sync(file, data, off_loop=off_loop)
        except OSError as error:
            if error.errno != errno.EIO or file.size != size:
                raise  # the append has failed
            await insist(file, b"")

    return (method(StartAppendFile.append_and_sync, insist),)


def _replace_torn_log() -> Patches:
    return (
        function(ringmill.node.storage.engine, replace_torn_log, lambda files, folder, options, opened: None),
    )


def _corruption_is_an_error() -> Patches:
    get, get_nowait = Engine.get, Engine.get_nowait

    async def absent(engine: Engine, key: bytes, **options: Any) -> bytes | None:
        try:
            return await get(engine, key, **options)
        except CorruptData:
            return None

    def absent_nowait(engine: Engine, key: bytes) -> bytes | None:
        try:
            return get_nowait(engine, key)
        except CorruptData:
            return None

    return (method(Engine.get, absent), method(Engine.get_nowait, absent_nowait))


def _file_ids_reserved() -> Patches:
    """A start goes on above the highest number that it finds, whatever the manifest has reserved."""

    def open_by_names(files: FileSystem, folder: str, *, is_patient: bool = False) -> Opened:
        found = [parsed.file_id for name in files.list(folder) if (parsed := parse_name(name))]
        opened = ringmill.node.storage.recovery.opening.open_folder(files, folder, is_patient=is_patient)
        opened.next_id = max(found, default=0) + 1
        return opened

    return (function(ringmill.node.storage.engine, open_folder, open_by_names),)


def _handed_to_the_system() -> Patches:
    """A node holds what it writes back in a buffer of its own, which goes with its process."""
    kill = NodeProcess.kill

    def lose_buffers(node: NodeProcess, model: CrashModel | None, *, is_crash: bool = True) -> None:
        cuts = len(node.power_cuts)
        kill(node, model or CrashModel.PREFIX, is_crash=is_crash)
        if model is None:
            del node.power_cuts[cuts:]

    return (method(NodeProcess.kill, lose_buffers),)


_ALONE: Final = SimulationOptions(nodes=1, n=1, w=1, r=1)  # other owners would heal what a disk has lost
_ROT: Final = SimulationOptions(nodes=3, w=3, r=1, keys=24, faults=("bit_flip",))  # one owner alone answers
_CRASHES: Final = replace(_ALONE, faults=("crash", "crash_all"))
_ERRORS: Final = replace(_ALONE, keys=2, faults=("disk_error", "crash_all"))
_MIDST: Final = SimulationOptions(faults=("crash_child",))

DURABILITY: Final = (
    Ablation(
        "sync-before-ack", "an ack at `sync` waits for the disk", _sync_before_ack(), rules=("E1", "W2")
    ),
    Ablation(
        "handed-to-the-system",
        "an ack at `buffered` waits until the system has the bytes",
        _handed_to_the_system(),
        replace(_ALONE, mix=("memory",), faults=("crash", "crash_all")),
        rules=("W2",),
    ),
    Ablation(
        "folder-sync", "a file's name is made durable before the file counts", _folder_sync(), rules=("E1",)
    ),
    Ablation(
        "recovered-synced",
        "what a start reads from its logs is synced before it counts",
        _recovered_synced(),
        _CRASHES,
        rules=("E3",),
    ),
    Ablation(
        "recovered-rewritten",
        "what a start reads is written again, as a failed sync may have left it in the page cache only",
        _recovered_rewritten(),
        _ERRORS,
        rules=("E3",),
    ),
    Ablation(
        "failed-sync-is-final",
        "a sync that failed is never tried again",
        _failed_sync_is_final(),
        _ERRORS,
        rules=("E2",),
    ),
    Ablation(
        "torn-log-replaced",
        "a log with a torn end is replaced by a table before anything is applied",
        _replace_torn_log(),
        _CRASHES,
        rules=("E4",),
    ),
    Ablation(
        "corruption-is-an-error",
        "a damaged block is an error, never an absence",
        _corruption_is_an_error(),
        _ROT,
        rules=("H5",),
    ),
    Ablation(
        "file-ids-reserved",
        "a file's number is never given out again",
        _file_ids_reserved(),
        _MIDST,
        rules=("E5",),
    ),
)
