"""A look at requests under way reaches all of them, whatever one of them raises."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.silence import SILENT_AFTER_S, SilenceWatch


class Answering:
    """Some names answer all the time; one has a bug."""

    is_over = False

    def answered_at(self, name: str) -> float:
        return 0.0 if name == "quiet" else asyncio.get_running_loop().time()

    def inquire(self, name: str) -> None:
        pass

    def fell_silent(self, name: str) -> None:
        pass


class Told:
    def __init__(self, slow_after_s: float, bug: Exception | None = None) -> None:
        self.begun_at = asyncio.get_running_loop().time()
        self.slow_at = self.begun_at + slow_after_s
        self.news: list[str] = []
        self._bug = bug

    def silent(self, error: RingmillError) -> None:
        self._tell("silent")

    def slow(self) -> None:
        self._tell("slow")

    def _tell(self, news: str) -> None:
        self.news.append(news)
        if self._bug is not None:
            raise self._bug


async def test_a_bug_of_one_request_ends_nobody_elses_watch() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    watch = SilenceWatch(Answering())
    broken = [Told(0.0, ValueError("a bug")), Told(math.inf, ValueError("a bug"))]
    well = [Told(0.0), Told(0.0), Told(math.inf)]
    names = ["busy", "busy", "other", "quiet"]
    watch.begin("quiet", broken[1])
    watch.begin("busy", broken[0])
    for name, request in zip(names[1:], well, strict=True):
        watch.begin(name, request)
    await asyncio.sleep(2 * SILENT_AFTER_S)
    assert [each.news for each in well] == [["slow"], ["slow"], ["silent"]]
    assert [each.news for each in broken] == [["slow"], ["silent"]]
    assert [str(each["exception"]) for each in reported] == ["a bug", "a bug"]
