"""The node's data folder, opened: whose it is, which start this is, and the storage engine in it.

The order here is the rule (I6, docs/protocol/identity.md): the store's lock is held before anything is
written, the folder is checked before an engine may make a store in it, and what a stop leaves is noted behind
the closed engine, and before the lock is released.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ringmill.cluster.membership.start_rules import FoundLogs, LogMark
from ringmill.cluster.overload.ladder import Rung
from ringmill.node.core import Core
from ringmill.node.identity.identity import Identity, take_store
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.names import LOCK
from ringmill.node.storage.recovery.log_extent import found_logs

__all__ = ["Storage", "open_storage"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    identity: Identity
    engine: Engine
    found: FoundLogs  # what lay there before the engine was opened


class _Held:
    """The store's lock as the engine has it: `open_storage` releases it, after the engine is closed."""

    def release(self) -> None:
        pass


async def _open_engine(core: Core, folder: str) -> Engine:
    doors, gate = core.doors, core.gate
    return await Engine.open(
        folder,
        core.options.storage,
        files=doors.files,
        spawner=doors.spawner,
        is_busy=lambda: gate.step >= Rung.COMPACTION,  # rule O8
        lock=_Held(),
    )


@asynccontextmanager
async def open_storage(
    core: Core, open_engine: Callable[[Core, str], Awaitable[Engine]] = _open_engine
) -> AsyncIterator[Storage]:
    """Begin a start.  Leaving syncs and closes the engine, and notes a stop that was clean.

    Raises BlockingIOError when another process has the folder, InvalidArgument when it is another node's,
    FolderRefused when it is not the one that the cluster counts on, CorruptData, OSError.
    """
    files, folder, store = core.doors.files, core.config.data, core.folder("store")
    files.mkdir(store)
    lock = files.lock(f"{store}/{LOCK}")
    try:
        await take_store(files, folder)
        highest, logs = found_logs(files, store)
        found = FoundLogs(highest, tuple(LogMark(*log) for log in logs))
        async with await open_engine(core, store) as engine:
            identity = await Identity.open(folder, core.node, files=files, entropy=core.doors.entropy)
            yield Storage(identity=identity, engine=engine, found=found)
        if engine.sequence == engine.synced_sequence:
            await _note_left(identity)
    finally:
        lock.release()


async def _note_left(identity: Identity) -> None:
    """The last act of a stop."""
    try:
        await identity.note_left()
    except OSError as error:
        _log.warning("what this stop has left is not noted: %s", error)
