"""A loop that stands still is seen from outside, and told of it afterwards."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from ringmill.cluster.adapters.processes.loop_watchdog import LoopWatchdog


def stand_still(release: threading.Event) -> None:
    release.wait(30.0)


async def test_the_stack_of_a_loop_that_stands_still_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[float] = []
    heard = asyncio.Event()
    release = threading.Event()

    def stood_still(seconds: float) -> None:
        told.append(seconds)
        heard.set()

    def let_go_when_logged() -> None:
        while "the event loop stands still" not in caplog.text and not release.is_set():
            release.wait(0.01)
        release.set()

    with LoopWatchdog(stood_still, stall_s=0.05, ask_every_s=0.01) as dog:
        assert not dog.reason
        helper = threading.Thread(target=let_go_when_logged)
        helper.start()
        asyncio.get_running_loop().call_soon(partial(stand_still, release))
        async with asyncio.timeout(30):
            await heard.wait()
        helper.join()
    assert "in stand_still" in caplog.text, "the log names the place"
    assert told and told[0] >= 0.05
    assert dog.stalls >= 1
    assert "stood still" in dog.reason


async def test_a_loop_that_turns_is_left_alone() -> None:
    told: list[float] = []
    with LoopWatchdog(told.append, stall_s=30.0, ask_every_s=0.001) as dog:
        for _ in range(100):
            await asyncio.sleep(0)
    assert not told
    assert not dog.reason


class Late(threading.Event):
    """One whose waits run out just before the watch ends, and are back from it just after."""

    def __init__(self, made: list[Late]) -> None:
        super().__init__()
        self.made = made
        made.append(self)

    def wait(self, timeout: float | None = None) -> bool:
        if super().wait(timeout):
            return True
        for each in self.made:
            threading.Event.wait(each, 30.0)
        return False


def test_a_watch_that_ends_while_its_thread_is_about_to_ask_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    made: list[Late] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Event", lambda: Late(made))
        dog = LoopWatchdog(told.append, stall_s=0.02, ask_every_s=0.0)

    async def watch() -> None:
        with dog:
            pass

    loop = threading.Thread(target=asyncio.run, args=(watch(),), daemon=True)
    loop.start()
    loop.join(5.0)
    assert not loop.is_alive(), "neither waits for the other"
    assert "loop watchdog" not in {each.name for each in threading.enumerate()}
    assert not told
