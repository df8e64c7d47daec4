"""Calls of a process that was held up past their deadlines: what was answered meanwhile is answered."""

from __future__ import annotations

import asyncio
from typing import Any

from ringmill.cluster.adapters.network.frame_link import FrameLink
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded, RingmillError
from ringmill.cluster.ports import Priority
from ringmill.cluster.wire.frames import decode_operations, encode_answers
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import VirtualLoop
from tests.cluster.adapters.conftest import MemoryStream

CALLS, TIMEOUT_S, HELD_S = 50, 1.0, 3.0
TURNS = 20  # of the loop, that a message takes from a socket to its reader
HALF_S = 0.1


class LoopClock:
    def __init__(self, loop: VirtualLoop) -> None:
        self.wall = self.monotonic = self.boottime = loop.time


class SleptClock(SystemClock):
    """Of a machine that has slept: its monotonic clock stood still meanwhile."""

    slept_s = 0.0

    def boottime(self) -> float:
        return super().boottime() + self.slept_s


class Even:
    def random_bytes(self, purpose: str, size: int) -> bytes:
        return bytes(size)

    def uniform(self, purpose: str) -> float:
        return 0.5


class SlowlyRead(MemoryStream):
    """A stream whose frames are there long before they reach the reader."""

    async def read(self) -> bytes | None:
        frame = await super().read()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return frame


def _told(*, is_answered: bool) -> list[bytes | BaseException]:
    """What came of calls whose process was held up for `HELD_S` after they had been sent."""
    loop = VirtualLoop(stream(1, "schedule"))

    async def main() -> list[bytes | BaseException]:
        there: Any = asyncio.Queue()
        back: Any = asyncio.Queue()
        ours, theirs = SlowlyRead(back, there), MemoryStream(there, back)

        async def dial() -> Any:
            return ours

        async def ask() -> list[bytes | BaseException]:
            link = FrameLink("n2", dial, clock=LoopClock(loop), entropy=Even())
            calls = (link.call("kv.get", b"", TIMEOUT_S, Priority.READ) for _ in range(CALLS))
            told = await asyncio.gather(*calls, return_exceptions=True)
            await link.close()
            return told

        process = loop.process("client")
        asking = loop.spawn(process, ask())
        frame = await theirs.read()
        assert frame is not None
        loop.pause(process)
        await asyncio.sleep(HALF_S)
        if is_answered:
            await theirs.write(encode_answers([(each[0], b"ok") for each in decode_operations(frame)[0]]))
        await asyncio.sleep(HELD_S)
        loop.resume(process)
        return await asking

    told: list[bytes | BaseException] = loop.run_until_complete(main())
    return told


def test_what_was_answered_while_this_process_was_held_up_has_an_answer() -> None:
    assert _told(is_answered=True) == [b"ok"] * CALLS


def test_what_was_not_answered_has_met_its_deadline() -> None:
    told = _told(is_answered=False)
    assert len(told) == CALLS
    assert all(isinstance(each, DeadlineExceeded) and each.outcome == "unknown" for each in told)


async def test_a_call_that_waits_while_the_machine_sleeps_past_its_deadline_is_not_sent(
    memory_streams: Any,
) -> None:
    ours, theirs = memory_streams
    clock, may_dial = SleptClock(), asyncio.Event()

    async def dial() -> Any:
        await may_dial.wait()
        return ours

    link = FrameLink("n2", dial, clock=clock, entropy=Even())
    told = list[bytes | RingmillError]()
    link.send("kv.put", b"late", TIMEOUT_S, Priority.WRITE, told.append)
    await asyncio.sleep(0)
    clock.slept_s = 60.0
    link.send("kv.put", b"next", TIMEOUT_S, Priority.WRITE, told.append)
    may_dial.set()
    frame = await theirs.read()
    assert [operation[4] for operation in decode_operations(frame)[0]] == [b"next"]
    [late] = told
    assert isinstance(late, DeadlineExceeded) and late.outcome == "failed", "its caller may ask another node"
    await link.close()
    assert [each.outcome for each in told if isinstance(each, RingmillError)] == ["failed", "unknown"]
