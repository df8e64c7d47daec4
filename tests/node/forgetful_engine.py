"""An engine in memory that behaves like the real one where replicas can tell: what was not synced is
forgotten in a crash, cold keys need the disk, a sync takes a while and carries everything before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import cast

from ringmill.cluster.errors import DiskFull, RingmillError
from ringmill.node.storage.engine import Batch, Engine, NotCached, OnDurable
from ringmill.node.storage.storage_errors import CorruptRange

__all__ = ["ForgetfulEngine"]

Changes = list[tuple[bytes, bytes | None]]


class ForgetfulCommit:
    def __init__(self, engine: ForgetfulEngine, sequence: int) -> None:
        self._engine = engine
        self.sequence = sequence

    @property
    def is_synced(self) -> bool:
        return self._engine.synced_sequence >= self.sequence

    async def synced(self, *, is_urgent: bool = True) -> None:
        while not self.is_synced:
            await self._engine.sync()

    async def buffered(self) -> None:
        await asyncio.sleep(0)

    def tell_synced(self, on_durable: OnDurable) -> None:
        self._engine.tell_after(self.synced(), on_durable)

    def tell_buffered(self, on_durable: OnDurable) -> None:
        self._engine.tell_after(self.buffered(), on_durable)


class HeldSnapshot:
    def __init__(self, content: dict[bytes, bytes]) -> None:
        self.content = content
        self.is_released = False

    def __enter__(self) -> HeldSnapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self.is_released = True


class ForgetfulEngine:
    def __init__(self, log: list[Changes] | None = None, *, sync_s: float = 0.001) -> None:
        self._log: list[Changes] = list(log or [])
        self._content: dict[bytes, bytes] = {}
        for changes in self._log:
            self._take(changes)
        self.synced_sequence = len(self._log)
        self.sync_s = sync_s
        self.failure: RingmillError | None = None
        self.is_full = False
        self.scan_failure: Exception | None = None
        self.cold: set[bytes] = set()
        self.fenced: set[bytes] = set()  # keys that begin so are damaged
        self.healed: set[bytes] = set()  # those that were, while a snapshot was live
        self.is_cached = False  # a scan then never waits
        self.can_sync = asyncio.Event()
        self.can_sync.set()
        self.can_read = asyncio.Event()
        self.can_read.set()
        self._telling: dict[asyncio.Task[None], None] = {}

    def tell_after(self, held: Coroutine[None, None, None], on_durable: OnDurable) -> None:
        """As the log of the real engine tells those who do not wait."""

        async def wait() -> None:
            try:
                await held
            except RingmillError as error:
                on_durable(error)
            else:
                on_durable(None)

        task = asyncio.get_running_loop().create_task(wait())
        self._telling[task] = None
        task.add_done_callback(self._telling.pop)

    @property
    def is_writable(self) -> bool:
        return self.failure is None

    def as_engine(self) -> Engine:
        return cast("Engine", self)

    @property
    def sequence(self) -> int:
        return len(self._log)

    async def __aenter__(self) -> ForgetfulEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        """A stop in order syncs all there is."""
        if self.failure is None:
            self.synced_sequence = len(self._log)

    def after_crash(self) -> ForgetfulEngine:
        """What the next start finds: everything that was synced, nothing else."""
        return ForgetfulEngine(self._log[: self.synced_sequence], sync_s=self.sync_s)

    def get_nowait(self, key: bytes) -> bytes | None:
        self._check(key)
        if key in self.cold:
            raise NotCached
        return self._content.get(key)

    async def get(self, key: bytes) -> bytes | None:
        self._check(key)
        value = self._content.get(key)
        await self.can_read.wait()
        await asyncio.sleep(0.0005)
        self.cold.discard(key)
        return value

    async def get_for_change(self, key: bytes) -> tuple[bytes | None, bool]:
        value = await self.get(key)
        return value, value == self._content.get(key)

    def apply(self, batch: Batch, *, is_control: bool = False, frees_space: bool = False) -> ForgetfulCommit:
        if self.failure is not None:
            raise self.failure
        if self.is_full and not (is_control or frees_space):
            raise DiskFull("read-only")
        self._log.append(list(batch.changes))
        self._take(self._log[-1])
        return ForgetfulCommit(self, len(self._log))

    async def sync(self) -> None:
        target = len(self._log)
        await self.can_sync.wait()
        await asyncio.sleep(self.sync_s)
        if self.failure is not None:
            raise self.failure
        self.synced_sequence = max(self.synced_sequence, target)

    async def wait_writable(self, *, is_control: bool = False, frees_space: bool = False) -> None:
        if self.is_full and not (is_control or frees_space):
            raise DiskFull("read-only")

    @property
    def has_space(self) -> bool:
        return True

    has_spare_space = has_space

    def may_lack(self, start: bytes, end: bytes, snapshot: HeldSnapshot | None = None) -> bool:
        damaged = self.fenced if snapshot is None else self.fenced | self.healed
        return any(start <= prefix < end for prefix in damaged)

    def snapshot(self) -> HeldSnapshot:
        return HeldSnapshot(dict(self._content))

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        reverse: bool = False,
        snapshot: HeldSnapshot | None = None,
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        await self.can_read.wait()
        content = dict(self._content) if snapshot is None else snapshot.content
        if self.scan_failure is not None:
            raise self.scan_failure
        for key in sorted(content, reverse=reverse):
            if start <= key and (end is None or key < end):
                if not self.is_cached:
                    await asyncio.sleep(0)
                yield key, content[key]

    def _check(self, key: bytes) -> None:
        if any(key.startswith(prefix) for prefix in self.fenced):
            raise CorruptRange(f"versions of {key!r} may be lost")

    def _take(self, changes: Changes) -> None:
        for key, value in changes:
            if value is None:
                self._content.pop(key, None)
            else:
                self._content[key] = value
