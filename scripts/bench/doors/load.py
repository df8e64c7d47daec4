"""Load over open connections: each sends a batch of requests, takes all answers, and sends the next batch.

A batch of one is a caller that waits for each answer; a longer one is a pipeline.  Answers are compared with
what has to come, so that a fast error is no fast answer.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvloop

__all__ = ["Batches", "Turn", "WrongAnswer", "after_http_answer", "measured", "same_answers"]

Whole = Callable[[bytes], bool]
"""Whether these bytes are all the answers to a batch.  Raises WrongAnswer when they are something else."""


class WrongAnswer(Exception):
    """A server has answered something else than what was to come, or not at all."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What is sent, `size` requests at a time, over how many connections."""

    sent: Iterator[bytes]
    are_whole: Whole
    size: int
    connections: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one server: processor microseconds and rate of requests, milliseconds of each batch."""

    used_us: float
    per_s: float
    taken_ms: list[float]


def measured(pid: int, port: int, batches: Batches, seconds: float) -> Turn:
    """Load a server for some seconds; the processor time is that of its process."""
    before, begun = used_s(pid), time.perf_counter()
    taken = uvloop.run(_send(port, batches, begun + seconds))
    wall_s = time.perf_counter() - begun
    requests = len(taken) * batches.size
    return Turn((used_s(pid) - before) / requests * 1e6, requests / wall_s, taken)


def used_s(pid: int) -> float:
    """Seconds of processor time of a process with all its threads, to the nanosecond.

    psutil counts in ticks of 10 ms, which are too long for a case of a few hundred requests.  Raises OSError.
    """
    clock = ctypes.c_int()
    if failed := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(failed, f"process {pid}: {os.strerror(failed)}")
    return time.clock_gettime(clock.value)


def same_answers(expected: bytes) -> Whole:
    """The answers to a batch that are known byte by byte."""

    def are_whole(received: bytes) -> bool:
        if not expected.startswith(received):
            raise WrongAnswer(f"unexpected answer: {received[:80]!r}")
        return len(received) == len(expected)

    return are_whole


def after_http_answer(received: bytes) -> bool:
    """One answer of HTTP with status 200 and a length."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise WrongAnswer(f"unexpected answer: {head[:80]!r}")
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) == int(rest.partition(b"\r\n")[0])


class _Caller(asyncio.Protocol):
    """One connection.  `sent` is shared by all of them."""

    def __init__(self, batches: Batches, until: float, taken: list[float]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batches = batches
        self._until = until
        self._taken = taken
        self._received = b""
        self._begun = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(WrongAnswer(f"the server has closed a connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            if not self._batches.are_whole(self._received):
                return
        except WrongAnswer as wrong:
            self.ended.set_exception(wrong)
            return
        self._received = b""
        now = time.perf_counter()
        self._taken.append((now - self._begun) * 1000)
        if now < self._until:
            self._send()
        else:
            self.ended.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        self._begun = time.perf_counter()
        self._transport.write(next(self._batches.sent))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _itself(caller: _Caller) -> _Caller:
    return caller


async def _send(port: int, batches: Batches, until: float) -> list[float]:
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    callers = [_Caller(batches, until, taken) for _ in range(batches.connections)]
    try:
        for caller in callers:
            await loop.create_connection(partial(_itself, caller), "127.0.0.1", port)
        await asyncio.gather(*(caller.ended for caller in callers))
    finally:
        for caller in callers:
            caller.close()
    return taken
