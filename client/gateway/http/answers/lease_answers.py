"""Leases: held for a caller as long as its stream is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, cast

from aiohttp import web

from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.connection_guard import ANSWER_S
from ringmill.client.gateway.http.problems import http_refusal_of, problem_document
from ringmill.client.gateway.http.streams import BEAT_S, EVENTS_TYPE, OpenStream, event_text, with_beats
from ringmill.client.gateway.protection.vanished_callers import end_if_vanished
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.gathering import first_of

__all__ = ["hold_lease"]

_DURATION_S: Final = 6.0
_LONGEST_SILENCE_S: Final = 2.0
_LONGEST_VANISHED_S: Final = 15.0
_SIGN: Final = b": held\n\n"
_WAITS: Final = b": waiting\n\n"


async def hold_lease(call: HttpCall) -> web.StreamResponse:
    """Wait until the lease in this register is free, take it, and hold it as long as this stream is open.

    The first event is `held`, with the `term`: a number that grows with every holder, and that whatever is
    done under the lease has to carry.  Signs of life come after it, two in each `silence` of the event: that
    is two seconds, or a third of a `duration` below six.  An event `lost`, the end of the stream, or that
    number of seconds without a sign mean that the caller may no longer act as the holder.
    When the lease is not free within `wait` seconds, 504; one that waits for more than 15 seconds has its
    answer begin then, with a comment each 15 seconds, and an event `error` at the end if it comes to that.
    """
    duration_s = call.query.get("duration", _DURATION_S)
    lease = call.registers.lease(call.key, duration=duration_s, owner=call.query.get("owner", ""))
    # A sign lets the caller act for all of the silence, so it is sent only while the lease outlasts that.
    # Renewals come every third of the duration, and each holds the lease for 0.7 of it (rule R6).
    silence_s = min(_LONGEST_SILENCE_S, duration_s / 3)
    call.slot.becomes_a_stream()
    # Others wait for as long as a caller that has vanished holds it, or is about to get it.
    end_if_vanished(call.request.transport, min(_LONGEST_VANISHED_S, duration_s))
    try:
        stream = OpenStream(call, EVENTS_TYPE)
        if not await _acquire(call, lease, stream):
            return await stream.end()
        sign = event_text("held", {"term": lease.term, "silence": silence_s}, str(lease.term))
        while lease.is_held and not call.ending.is_set():
            pause_s = silence_s / 10  # a renewal is due
            if lease.left_s >= silence_s:
                await stream.write(sign)
                sign, pause_s = _SIGN, silence_s / 2
            try:
                await asyncio.wait_for(first_of(lease.lost.wait(), call.ending.wait()), pause_s)
            except TimeoutError:
                continue
        await stream.write(event_text("lost", {"term": lease.term}))
        answer = await stream.end()
        if lease.is_held:  # the gateway stops: what the last sign allows has to be over before somebody else
            await asyncio.sleep(silence_s)
        return answer
    finally:
        await lease.release()
        end_if_vanished(call.request.transport, ANSWER_S)


async def _acquire(call: HttpCall, lease: AsyncLease, stream: OpenStream) -> bool:
    """Wait for the lease, and begin the answer; False when the answer has told why it is not held.

    Before the answer has begun it raises what it would tell.
    """
    has_begun = False
    beats = with_beats(_term_of(lease, call.query.get("wait", 0.0)), BEAT_S, call.ending)
    async with aclosing(cast("AsyncGenerator[int | None, None]", beats)) as beating:
        try:
            async for term in beating:
                if not has_begun:
                    has_begun = True
                    await stream.begin()
                if term is not None:
                    return True
                await stream.write(_WAITS)
            raise Unavailable("the gateway is stopping")
        except RingmillError as error:
            if not has_begun:
                raise
            refusal = http_refusal_of(error, has_token=call.has_token)
            await stream.write(event_text("error", problem_document(refusal)))
            return False


async def _term_of(lease: AsyncLease, wait_s: float) -> AsyncIterator[int]:
    yield await lease.acquire(wait_s)
