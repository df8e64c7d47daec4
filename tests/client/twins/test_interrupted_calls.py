"""Ctrl-C may strike when what a blocking call waits for was just done: nothing is lost, or left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from ringmill.client.blocking import Lease
from ringmill.client.operations import OperationNames
from ringmill.client.registers.registers import RegisterValue
from ringmill.client.routing.router import Router
from ringmill.client.scans.async_scan import scan_of
from ringmill.client.scans.blocking_scan import Scan
from ringmill.client.twins.loop_thread import LoopThread
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.wire.scan_cursor import ScanBounds, ScanCursor, decode_cursor, encode_cursor
from ringmill.cluster.wire.stubs.scans_pb2 import ScanItem, ScanPage, ScanRequest

KEYS = [b"k1", b"k2", b"k3"]


def test_a_client_starts_where_a_notebook_has_replaced_asyncio_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nest_asyncio does, by what looks for a loop in the thread that calls it."""
    monkeypatch.setattr(asyncio, "run", lambda work: asyncio.get_event_loop_policy().get_event_loop())

    async def nothing() -> None:
        pass

    loop = LoopThread(nothing)
    assert loop.run(asyncio.sleep(0, "served")) == "served"
    loop.close()


class OneKeyPages:
    """In the place of a router and of the names of operations."""

    async def ask(self, _method: object, prepare: Callable[..., Any], **_: Any) -> ScanPage:
        request: ScanRequest = prepare(1, 1000, 0)
        at = decode_cursor(request.cursor).partition if request.cursor else 0
        page = ScanPage(items=[ScanItem(key=KEYS[at])], partition=at, partitions=len(KEYS))
        if at + 1 < len(KEYS):
            page.cursor = encode_cursor(ScanCursor(KeyspaceId(1, 1), PartitionId(at + 1), b"", ScanBounds()))
        return page

    def observe(self, _time: int) -> None:
        pass


class InterruptedLoop:
    """Does what it is given, and is struck by Ctrl-C when the result is there."""

    def __init__(self, strikes_in: int = 0) -> None:
        self.strikes_in = strikes_in
        self.called: list[Callable[[], object]] = []

    def run(self, work: Coroutine[Any, Any, Any], limit_s: float | None = None) -> Any:
        result = asyncio.run(work)
        self.strikes_in -= 1
        if not self.strikes_in:
            raise KeyboardInterrupt
        return result

    def call(self, work: Callable[[], object]) -> None:
        self.called.append(work)


def test_a_scan_goes_on_with_the_page_that_was_there_when_it_was_interrupted() -> None:
    pages = OneKeyPages()
    subject = scan_of("default", cast("Router", pages), cast("OperationNames", pages))
    scan, seen = Scan(subject, InterruptedLoop(strikes_in=2)), []
    with pytest.raises(KeyboardInterrupt):
        for key, _ in scan:
            seen.append(key)
    behind = scan_of("default", cast("Router", pages), cast("OperationNames", pages), cursor=scan.cursor)
    assert [key for key, _ in Scan(behind, InterruptedLoop())] == KEYS[1:]
    seen += [key for key, _ in scan]
    assert seen == KEYS and scan.cursor == ""


class FreeRegister:
    async def get(self, *, timeout: float) -> RegisterValue:
        return RegisterValue(None, 0)

    async def set(self, value: bytes, version: int, *, timeout: float) -> int:
        return version + 1


def test_a_lease_that_was_acquired_when_the_wait_was_interrupted_is_renewed_no_longer() -> None:
    subject = AsyncLease(
        "lease", FreeRegister(), owner="", duration_s=6.0, clock=SystemClock(), entropy=OsEntropy()
    )
    loop = InterruptedLoop(strikes_in=1)
    with pytest.raises(KeyboardInterrupt), Lease(subject, cast("LoopThread", loop)):
        pass
    assert subject.term == 1 and loop.called == [subject.abandon]
