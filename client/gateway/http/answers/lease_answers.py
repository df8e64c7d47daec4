"""Leases: held for a caller as long as its stream is open."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.streams import EVENTS_TYPE, OpenStream, event_text

__all__ = ["hold_lease"]

_SIGN_S = 1.0
"""Between two signs of life: by them a caller that has gone is noticed, and its lease given up."""


async def hold_lease(call: HttpCall) -> web.StreamResponse:
    """Wait until the lease in this register is free, take it, and hold it as long as this stream is open.

    The first event is `held`, with the `term`: a number that grows with every holder, and that whatever is
    done under the lease has to carry.  A sign of life comes every second.  An event `lost`, the end of the
    stream, or two seconds of silence mean that the caller may no longer act as the holder.
    When the lease is not free within `wait` seconds, 504.
    """
    lease = call.registers.lease(
        call.key, duration=call.query.get("duration", 6.0), owner=call.query.get("owner", "")
    )
    call.slot.becomes_a_stream()
    await lease.acquire(call.query.get("wait", 0.0))
    try:
        stream = OpenStream(call, EVENTS_TYPE)
        await stream.begin()
        await stream.write(event_text("held", {"term": lease.term}, str(lease.term)))
        while lease.is_held:
            try:
                await asyncio.wait_for(lease.lost.wait(), _SIGN_S)
            except TimeoutError:
                await stream.write(b": held\n\n")
        await stream.write(event_text("lost", {"term": lease.term}))
        return await stream.end()
    finally:
        await lease.release()
