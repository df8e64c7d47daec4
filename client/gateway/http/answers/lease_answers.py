"""Leases: held for a caller as long as its stream is open."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.streams import EVENTS_TYPE, OpenStream, event_text
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.gathering import first_of

__all__ = ["hold_lease"]

_DURATION_S: Final = 6.0
_LONGEST_SILENCE_S: Final = 2.0
_SIGN: Final = b": held\n\n"


async def hold_lease(call: HttpCall) -> web.StreamResponse:
    """Wait until the lease in this register is free, take it, and hold it as long as this stream is open.

    The first event is `held`, with the `term`: a number that grows with every holder, and that whatever is
    done under the lease has to carry.  Signs of life come after it, two in each `silence` of the event: that
    is two seconds, or a third of a `duration` below six.  An event `lost`, the end of the stream, or that
    number of seconds without a sign mean that the caller may no longer act as the holder.
    When the lease is not free within `wait` seconds, 504.
    """
    duration_s = call.query.get("duration", _DURATION_S)
    lease = call.registers.lease(call.key, duration=duration_s, owner=call.query.get("owner", ""))
    # A sign lets the caller act for all of the silence, so it is sent only while the lease outlasts that.
    # Renewals come every third of the duration, and each holds the lease for 0.7 of it (rule R6).
    silence_s = min(_LONGEST_SILENCE_S, duration_s / 3)
    call.slot.becomes_a_stream()
    try:
        if await first_of(lease.acquire(call.query.get("wait", 0.0)), call.ending.wait()) == 1:
            raise Unavailable("the gateway is stopping")
        stream = OpenStream(call, EVENTS_TYPE)
        await stream.begin()
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
