"""What a node does when its file descriptors run short."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from ringmill.cluster.adapters.processes.descriptors import (
    SPARE_EVERY_S,
    SPARED,
    DescriptorWatch,
    files_in_use,
    in_use,
)

LIMIT, FEW = 300, 150


def test_idle_sessions_are_asked_for_as_many_as_are_short_and_not_again_at_once() -> None:
    watch, asked = DescriptorWatch(LIMIT), list[int]()

    def spare(count: int) -> int:
        asked.append(count)
        return count

    watch.spare = spare
    watch.look(FEW - 1, 0.0)
    assert (asked, watch.reason) == ([], "")
    watch.look(FEW + 10, 1.0)
    watch.look(FEW + 10, 2.0)  # those that were ended have not closed yet
    assert asked == [10 + SPARED] and "short of file descriptors" in watch.reason
    watch.look(65_536, 1.0 + SPARE_EVERY_S)  # the system tells no number: there is none left
    assert asked[1:] == [LIMIT - FEW + SPARED]


def test_where_no_session_is_idle_each_look_asks() -> None:
    watch, asked = DescriptorWatch(LIMIT), list[int]()

    def spare(count: int) -> int:
        asked.append(count)
        return 0

    watch.spare = spare
    for second in range(3):
        watch.look(FEW, float(second))
    assert asked == [SPARED] * 3


def test_tables_are_not_taken_for_connections() -> None:
    watch, asked = DescriptorWatch(256), list[int]()

    def spare(count: int) -> int:
        asked.append(count)
        return count

    watch.spare = spare
    watch.look(170, 0.0, 120)
    assert (asked, watch.reason) == ([], "")
    watch.look(230, 1.0, 200)
    assert asked == [14], "some are to be left for what comes"
    assert "230 of 256 in use, 200 of them for files" in watch.reason
    assert "connections" not in watch.reason
    watch.look(210, 2.0 + SPARE_EVERY_S, 195)
    assert len(asked) == 1 and "195 of them for files" in watch.reason
    watch.look(240, 3.0 + 2 * SPARE_EVERY_S, 60)
    assert asked[1:] == [240 - 60 - 128 + SPARED] and "new connections are refused" in watch.reason
    watch.look(100, 60.0)
    assert watch.reason == ""


def test_files_of_this_process_are_counted(tmp_path: Path) -> None:
    before, used = files_in_use(), in_use()
    assert before is not None and used is not None
    opened = [(tmp_path / str(number)).open("w") for number in range(5)]
    ends = socket.socketpair()
    assert files_in_use() == before + 5
    assert in_use() == used + 7
    for file in opened:
        file.close()
    for end in ends:
        end.close()


async def test_it_looks_also_at_the_limit_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def starts_no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watch = DescriptorWatch(1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", starts_no_thread)
        running = asyncio.ensure_future(watch.run())
        async with asyncio.timeout(10):
            while not watch.reason and not running.done():  # noqa: ASYNC110  nobody tells when it has looked
                await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
