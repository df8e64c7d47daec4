"""Work beside the loop, also where the system gives no thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ringmill.cluster.adapters.in_thread import in_thread


def test_it_runs_in_a_thread_and_its_error_is_reported() -> None:
    async def story() -> None:
        assert await in_thread(threading.current_thread) is not threading.current_thread()
        with pytest.raises(ValueError, match="invalid literal"):
            await in_thread(int, "no number")

    asyncio.run(story())


def test_a_process_that_is_given_no_thread_does_it_all_the_same_and_ends_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def starts_no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", starts_no_thread)
    assert asyncio.run(in_thread(threading.current_thread)) is threading.current_thread()


def test_whoever_is_cancelled_does_not_wait_for_it() -> None:
    async def story() -> None:
        goes_on = threading.Event()
        waiting = asyncio.ensure_future(in_thread(goes_on.wait, 10))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=1)
        assert waiting.cancelled()
        goes_on.set()

    asyncio.run(story())
