"""Runs the failure detector: sends its probes, wakes it in time, calls its listeners.

cluster/membership makes all decisions; this loop makes none.  Probes travel in the control class, on a
separate connection.  A node whose disk is not the one in the topology, or whose start is not confirmed yet,
serves nothing; it neither probes nor answers, so that the others see it as down (I2, I3).

Rules T7, T10 and T13: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId, Start
from ringmill.cluster.membership.claims import MemberState, Message
from ringmill.cluster.membership.detector import Detector, Instruction, Ping
from ringmill.cluster.membership.profile import Profile
from ringmill.cluster.membership.slowness import Slowness
from ringmill.cluster.ports import BatchTransport, Clock, Entropy, Handler, Incoming, Priority
from ringmill.cluster.ring.topology import Topology
from ringmill.node.membership.topology_agent import TopologyAgent

__all__ = ["PING", "PING_REQ", "Liveness"]

PING: Final = "swim.ping"
"""Peer method: a Message; answers a Message."""

PING_REQ: Final = "swim.ping_req"
"""Peer method: msgpack [target, timeout in seconds, Message]; answers the target's Message, or nothing when
the target did not answer."""

_HELPER_SHARE: Final = 0.8  # of an indirect probe's time, so that a helper's "no" is still heard
_LONGEST_RELAY_S: Final = 60.0
_FAR: Final = 2
_log = logging.getLogger(__name__)


class Liveness:
    """This node's view of which members are reachable.

    It only affects routing; only the topology removes members.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        disk: DiskId,
        start: Start,
        profile: Profile,
        topology: TopologyAgent,
        transport: BatchTransport,
        clock: Clock,
        entropy: Entropy,
        noted: Callable[[DiskId], Start | None],
    ) -> None:
        """`noted`: the newest start of a disk that this node has noted, or None (rules I3, T13)."""
        self._node = node
        self._topology = topology
        self._transport = transport
        self._clock = clock
        self._detector = Detector(
            node,
            disk,
            start,
            profile,
            random=lambda: entropy.uniform("swim"),
            now=clock.monotonic(),
            noted=noted,
        )
        self._slowness = Slowness()
        self._distances = {node: 0}
        self._orders: dict[tuple[NodeId, ...], list[NodeId]] = {}  # as asked for since anything changed
        self._listeners: list[Callable[[NodeId, MemberState], None]] = []
        self._nudged = asyncio.Event()
        self._wakes_at = 0.0
        self._outbox: list[Ping] = []
        self._is_running = False
        self.is_leaving = False
        """Whether this node has said that it serves no more."""
        self._untold: set[int] = set()  # pings that tell so
        self._all_told = asyncio.Event()
        topology.on_change(self._take_members)
        transport.on_break(self._note_break)

    def handlers(self) -> Mapping[str, Handler]:
        return {PING: self._answer_ping, PING_REQ: self._answer_ping_req}

    # What others ask.

    def state(self, node: NodeId) -> MemberState:
        """The state of a node: this node is up, and a node that is not a member is down."""
        return self._detector.state(node)

    def is_slow(self, node: NodeId) -> bool:
        """Whether a node that is up answers this one much more slowly than others do.  It changes nothing."""
        return self.state(node) is MemberState.UP and self._slowness.is_slow(node)

    def is_up(self, node: NodeId) -> bool:
        """Whether to send to a node: not if it is down; a suspect may still refute."""
        return self.state(node) is not MemberState.DOWN

    async def is_down_within(self, node: NodeId, within_s: float) -> bool:
        """Whether a node is seen down, or comes to be within this time."""
        changed = asyncio.Event()

        def note(_: NodeId, __: MemberState) -> None:
            changed.set()

        self._listeners.append(note)
        try:
            async with asyncio.timeout(within_s):
                while self.is_up(node):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            self._listeners.remove(note)
        return not self.is_up(node)

    def nearest_first(self, nodes: Iterable[NodeId]) -> Sequence[NodeId]:
        """Sort nodes by state, then this node first, then its zone, then in the given order."""
        given = tuple(nodes)
        order = self._orders.get(given)
        if order is None:
            state, distances = self._detector.state, self._distances
            order = sorted(given, key=lambda node: (state(node).severity, distances.get(node, _FAR)))
            self._orders[given] = order
        return order

    def on_change(self, listener: Callable[[NodeId, MemberState], None]) -> None:
        """Call `listener` on the loop at each change of a node's state."""
        self._listeners.append(listener)

    def stood_still(self, stood_s: float) -> None:
        """This node's event loop did nothing for `stood_s` seconds: it doubts itself."""
        _log.info("%s doubts itself after standing still for %.1f s", self._node, stood_s)
        self._detector.stood_still(self._clock.monotonic(), stood_s)

    async def leave(self) -> None:
        """Tell the members that this node leaves service; returns when each has heard or was given up
        (rule T10)."""
        self.is_leaving = True
        if not self._is_running or not self._may_take_part():
            return
        instructions = self._detector.leave(self._clock.monotonic())
        self._untold = {ping.id for ping in instructions if isinstance(ping, Ping)}
        self._obey(instructions)
        if self._untold:
            await self._all_told.wait()

    # The loop.

    async def run(self) -> None:
        """Probe and be woken, until cancelled."""
        self._is_running = True
        try:
            while True:
                self._nudged.clear()
                outbox, self._outbox = self._outbox, []
                for ping in outbox:
                    self._carry(ping)
                late_s = await self._sleep()
                if late_s is not None:
                    now = max(self._clock.monotonic(), self._wakes_at)  # timers of a loop round to 1 ms
                    self._obey(self._detector.tick(now, late_s=late_s))
        finally:
            self._is_running = False

    async def _sleep(self) -> float | None:
        """Sleep until the detector's next time.

        Returns how late it woke in seconds; None when an event came first.
        """
        if not self._may_take_part():
            await self._nudged.wait()
            return None
        now = self._clock.monotonic()
        self._wakes_at = max(now, self._detector.wake_at)
        # A timer and no `asyncio.timeout`, which cancels the task and raises twice at each probe.
        is_time = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(self._wakes_at - now, self._be_woken, is_time)
        try:
            await self._nudged.wait()
        finally:
            timer.cancel()
        return max(0.0, self._clock.monotonic() - self._wakes_at) if is_time.is_set() else None

    def _be_woken(self, is_time: asyncio.Event) -> None:
        is_time.set()
        self._nudged.set()

    def _carry(self, ping: Ping) -> None:
        """Send a ping; its result is reported to the detector exactly once."""
        to, method, body = ping.target, PING, ping.message.encode()
        if ping.via is not None:
            to, method = ping.via, PING_REQ
            body = msgpack.packb([ping.target, ping.timeout_s * _HELPER_SHARE, body])
        self._transport.send(
            to,
            method,
            body,
            timeout_s=ping.timeout_s,
            priority=Priority.CONTROL,
            ended=partial(self._end, ping, self._clock.monotonic()),
        )

    def _end(self, ping: Ping, sent_at: float, reply: bytes | RingmillError) -> None:
        """Report what came of a ping; a node that stops learns nothing from its own end."""
        if ping.id in self._untold:
            self._untold.discard(ping.id)
            if not self._untold:
                self._all_told.set()
        if not self._is_running:
            return
        try:
            message = _answer(ping, reply)
        except RingmillError as error:
            is_silent = isinstance(error, DeadlineExceeded)
            self._obey(self._detector.failed(ping.id, self._clock.monotonic(), is_silent=is_silent))
            return
        if ping.via is None:
            self._slowness.answered(ping.target, self._clock.monotonic() - sent_at)
        self._topology.heard_of(Epoch(message.epoch), message.speaker)
        self._obey(self._detector.answered(ping.id, message, self._clock.monotonic()))

    # What others send.

    def _answer_ping(self, incoming: Incoming) -> bytes:
        if not self._may_take_part():
            raise Unavailable(f"{self._node} serves nothing, so it does not answer probes")
        message = Message.decode(incoming.body)
        self._topology.heard_of(Epoch(message.epoch), message.speaker)
        answer, instructions = self._detector.heard(message, self._clock.monotonic(), link=incoming.sender)
        self._obey(instructions)
        return answer.encode()

    async def _answer_ping_req(self, incoming: Incoming) -> bytes:
        target, timeout_s, message = _relay(incoming.body)
        try:
            return await self._transport.call(
                target, PING, message, timeout_s=timeout_s, priority=Priority.CONTROL
            )
        except RingmillError as error:
            _log.debug("relaying a probe to %s failed: %s", target, error)
            return b""

    # Inside.

    def _may_take_part(self) -> bool:
        return self._topology.may_speak

    def _take_members(self, topology: Topology) -> None:
        self._detector.epoch = topology.epoch
        self._distances = _distances(topology, self._node)
        self._orders.clear()
        seats = {member.id: member.disk for member in topology.members}
        self._slowness.keep(seats)
        if self._may_take_part():
            self._obey(self._detector.set_members(seats, self._clock.monotonic()))
        self._nudged.set()

    def _note_break(self, node: NodeId) -> None:
        """Probe the other side of a broken connection now, and not when its turn comes."""
        if self._is_running and self._may_take_part():
            self._detector.broke(node, self._clock.monotonic())
            self._nudged.set()

    def _obey(self, instructions: Sequence[Instruction]) -> None:
        """Do what the detector wants after each event; the states that it holds may be others since."""
        self._orders.clear()
        for instruction in instructions:
            if isinstance(instruction, Ping):
                self._outbox.append(instruction)
            else:
                self._tell(instruction.node, instruction.state)
        if self._outbox or self._detector.wake_at < self._wakes_at:
            self._nudged.set()

    def _tell(self, node: NodeId, state: MemberState) -> None:
        _log.info("%s is %s", node, state)
        if state is MemberState.DOWN:
            self._slowness.forget(node)
        for listener in self._listeners:
            listener(node, state)


def _answer(ping: Ping, reply: bytes | RingmillError) -> Message:
    """What the target of a ping answers.  Raises RingmillError when it does not."""
    if isinstance(reply, RingmillError):
        raise reply
    if ping.via is not None and not reply:
        raise Unavailable(f"{ping.via} cannot reach {ping.target} either")
    return Message.decode(reply)


def _distances(topology: Topology, node: NodeId) -> dict[NodeId, int]:
    """How far members are: this node itself, its zone, or elsewhere.  Asked at each read, so found once."""
    zones = {member.id: member.zone for member in topology.members}
    return {**{each: 1 if zones[each] == zones.get(node) else _FAR for each in zones}, node: 0}


def _relay(body: bytes) -> tuple[NodeId, float, bytes]:
    """The fields of a PING_REQ.  Raises InvalidArgument for anything else."""
    try:
        fields: Any = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidArgument(f"{PING_REQ} of {len(body)} bytes is not msgpack: {error}") from error
    if not isinstance(fields, list) or [type(field) for field in fields] != [str, float, bytes]:
        raise InvalidArgument(f"{PING_REQ} has a target, a time and a message")
    target, timeout_s, message = fields
    if not 0 < timeout_s <= _LONGEST_RELAY_S:
        raise InvalidArgument(f"{PING_REQ} with {timeout_s} s, need up to {_LONGEST_RELAY_S:.0f} s")
    return NodeId(target), timeout_s, message
