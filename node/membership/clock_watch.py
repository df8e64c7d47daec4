"""Compares this node's wall clock with those of the other members: periodically, and at once after a jump.

After a step of the wall clock nobody knows whether the old or the new time is right.  If the clocks of the
others moved alike (one host, one `ntpdate`), or this clock agrees with their median, the node continues.  A
node that stepped alone coordinates no writes until its clock is right again, and reports why.  The median is
also the time by which values expire, so that a node with a wrong clock hides no value too early.

Rules V6 and G3: docs/protocol/versions.md, docs/protocol/reads.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgpack

from ringmill.cluster.beats import until_beat_s
from ringmill.cluster.errors import ProtocolMismatch, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.clock_verdict import Comparison, compare, earliest_reading, shared_reading
from ringmill.cluster.ports import Clock, Handler, Incoming, Priority, Transport
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import MAX_AHEAD_MS, HybridClock
from ringmill.node.contracts import TopologyView
from ringmill.node.node_options import MembershipOptions

__all__ = ["CLOCK_TELL", "ClockWatch"]

CLOCK_TELL: Final = "clock.tell"
"""Peer method: no body; answers msgpack [1, wall clock in microseconds]."""

_VERSION: Final = 1
_STOOD_STILL_S: Final = 1.0

_log = logging.getLogger(__name__)


class ClockWatch:
    def __init__(
        self,
        node: NodeId,
        *,
        hybrid: HybridClock,
        topology: TopologyView,
        transport: Transport,
        clock: Clock,
        options: MembershipOptions,
    ) -> None:
        self._node = node
        self._hybrid = hybrid
        self._topology = topology
        self._transport = transport
        self._clock = clock
        self._options = options
        self._last: Comparison | None = None  # before the present jump
        self._since_jump: Comparison | None = None
        self._compared_at: float | None = None
        self._looked_at: float | None = None  # on the boot clock
        self._nudged = asyncio.Event()
        self._judged = asyncio.Event()
        self._reason = ""

    def handlers(self) -> Mapping[str, Handler]:
        return {CLOCK_TELL: self._answer}

    @property
    def reasons(self) -> Sequence[str]:
        """Why this node may not coordinate writes because of its clock; empty when it may."""
        return (self._reason,) if self._reason else ()

    @property
    def apart_s(self) -> float | None:
        """How far this clock was from the median of all at the last comparison; None before there was one."""
        newest = self._since_jump or self._last
        return None if newest is None else newest.apart_ms / 1000

    async def run(self) -> None:
        """Check the clock once a second, and at once when a caller waits for a verdict; until cancelled."""
        while True:
            await self._look()
            try:
                async with asyncio.timeout(until_beat_s(self._options.look_at_clock_every_s)):
                    await self._nudged.wait()
            except TimeoutError:
                continue
            self._nudged.clear()

    async def wait_judged(self, within_s: float) -> None:
        """Return once a jump of the clock was judged, if there was one, or time is up.

        If this node may not write after it, stamping the write raises.
        """
        if self._hybrid.jumped_ms and not self._reason:
            await self._next_look(within_s)

    async def wait_compared(self, within_s: float) -> None:
        """Return once the median of the clocks is known, the members did not answer, or time is up."""
        if not self._hybrid.knows_shared_time:
            await self._next_look(within_s)

    async def hears(self, node: NodeId, within_s: float) -> bool:
        """Whether another node tells its time within this time."""
        return await self._ask(node, within_s) is not None

    async def _next_look(self, within_s: float) -> None:
        self._nudged.set()
        try:
            async with asyncio.timeout(within_s):
                await self._judged.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        self._hybrid.follow()
        now = self._clock.monotonic()
        every_s = self._options.compare_clocks_every_s
        stood_still = self._stood_still()  # at each look: it counts from the one before
        is_due = stood_still or self._compared_at is None or now - self._compared_at >= every_s
        if self._hybrid.jumped_ms or is_due:
            await self._compare()
        if not self._hybrid.jumped_ms:
            self._reason, self._since_jump = "", None

    def _stood_still(self) -> bool:
        """Whether the machine or the process did, by the clock that goes on meanwhile: a comparison that was
        under way told nothing."""
        looked_at, self._looked_at = self._looked_at, self._clock.boottime()
        pause_s = 0.0 if looked_at is None else self._looked_at - looked_at
        return pause_s > self._options.look_at_clock_every_s + _STOOD_STILL_S

    async def _compare(self) -> None:
        others = self._others()
        if others is None:
            return
        readings = await gather_all(self._ask(node, self._options.clock_answer_s) for node in others)
        own_ms, heard = self._hybrid.offset_ms, [each for each in readings if each is not None]
        shared_ms = shared_reading(own_ms, heard, len(others))
        if shared_ms is not None:
            self._compared_at = self._clock.monotonic()
            self._hybrid.expiry_follows(shared_ms)
        elif (earliest_ms := earliest_reading(own_ms, heard)) is not None:
            self._hybrid.removals_follow(earliest_ms)
        self._judge(compare(own_ms, heard, len(others)))
        self._judged.set()
        self._judged = asyncio.Event()

    def _judge(self, found: Comparison | None) -> None:
        jumped_ms = self._hybrid.jumped_ms
        if not jumped_ms:
            self._last = found or self._last
            return
        self._since_jump = found or self._since_jump
        what = f"the wall clock of {self._node} jumped by {jumped_ms:+.0f} ms"
        if found is None:
            sometimes("a clock step cannot be compared")
            self._reason = f"{what}, and too few nodes answer to compare it with; it coordinates no writes"
        elif found.agrees(self._last):
            _log.warning("%s, and the median of %d nodes agrees with it: going on", what, found.nodes)
            sometimes("a clock step that others share is accepted")
            self._hybrid.accept_jump()
            self._last, self._reason = found, ""
        else:
            sometimes("a clock is alone with its step")
            self._reason = (
                f"{what} and is {found.apart_ms:+.0f} ms from the median of {found.nodes} nodes, more than "
                f"{MAX_AHEAD_MS} ms; it coordinates no writes until its clock is right"
            )
        if self._reason:
            _log.debug("%s", self._reason)

    def _others(self) -> list[NodeId] | None:
        """The other members whose disks were not given up (T9); None before there is a topology."""
        topology = self._topology.current
        if topology is None:
            return None
        return [node for node in topology.standing if node != self._node]

    async def _ask(self, node: NodeId, within_s: float) -> float | None:
        """Another node's wall clock against this one's boot clock, milliseconds; None when it is silent, or
        when this machine stood still on the way: nobody knows then when the other one looked."""
        asked_at = self._clock.boottime()
        try:
            answer = await self._transport.call(
                node, CLOCK_TELL, b"", timeout_s=within_s, priority=Priority.CONTROL
            )
            wall_us = _wall_us(answer)
        except RingmillError:
            return None
        told_at = self._clock.boottime()
        if told_at - asked_at > within_s:  # a timeout does not see how long it slept
            return None
        return wall_us / 1000 - (asked_at + told_at) * 500  # at the middle of the round trip

    def _answer(self, incoming: Incoming) -> bytes:
        packed: bytes = msgpack.packb([_VERSION, int(self._clock.wall() * 1e6)])
        return packed


def _wall_us(answer: bytes) -> int:
    """Raises ProtocolMismatch."""
    try:
        fields = msgpack.unpackb(answer)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"{len(answer)} bytes are not a reading of a clock: {error}") from error
    if not isinstance(fields, list) or [type(each) for each in fields] != [int, int] or fields[0] != _VERSION:
        raise ProtocolMismatch(f"a reading of a clock is [{_VERSION}, microseconds]")
    return int(fields[1])
