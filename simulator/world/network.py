"""The network between simulated processes: directed links with latency, loss, duplicates, reorder, cuts.

It carries encoded bytes and knows nothing of what they mean.  A link between two names is made on first
use; faults change links, what they do is told in simulator/faults/links.py.  Bytes that reach a paused
process wait for it, as they do in a socket; bytes that reach a dead one come back as a reset.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from ringmill.simulator.trace import Trace
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop

__all__ = ["Endpoint", "DirectedLink", "Network", "Refused", "Trap"]

Trap = Callable[[str, float], bool]
"""Told of the method and the timeout of what a node is about to be sent; whether it has sprung."""


@dataclass(slots=True)
class DirectedLink:
    """One direction between two processes; times in seconds, chances in [0, 1]."""

    latency_s: float = 0.0004
    jitter_s: float = 0.0006
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    is_cut: bool = False
    stuck_until: float = 0.0
    last_arrival: float = 0.0
    line: str = ""  # its name
    held: list[tuple[TimerHandle, Callable[[], object]]] = field(default_factory=list)
    """What was sent while it was stuck, and would arrive afterwards."""


@dataclass(slots=True)
class Endpoint:
    """Where bytes for a name go: the present start of that process.  `reset` hears whose connections broke;
    `clock` is what its handshakes tell of its boot clock."""

    process: Process
    receive: Callable[[str, bytes], None]
    reset: Callable[[str], object] = str  # nobody cares
    clock: Callable[[], float] = float


def _when(held: tuple[TimerHandle, Callable[[], object]]) -> float:
    return held[0].when()


Refused = Callable[[bool], None]
"""Runs at the sender when nobody listened at the target; True: certainly no copy was or will be taken."""


class Network:
    def __init__(self, loop: VirtualLoop, draws: Random, trace: Trace, *, repeats_all: bool = False) -> None:
        self._loop = loop
        self._draws = draws
        self._trace = trace
        self._links: dict[tuple[str, str], DirectedLink] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self.base = DirectedLink()
        self.repeats_all = repeats_all  # forwarded writes too: an ablation wants it
        self.traps: dict[str, Trap] = {}  # by the node that they are set for

    def attach(self, name: str, endpoint: Endpoint) -> None:
        """From now on bytes for `name` go to this endpoint: a new run of the process."""
        self._endpoints[name] = endpoint

    def link(self, source: str, target: str) -> DirectedLink:
        found = self._links.get((source, target))
        if found is None:
            base = self.base
            found = self._links[source, target] = DirectedLink(
                base.latency_s, base.jitter_s, base.loss, base.duplicate, base.reorder, line=f"from {source}"
            )
        return found

    def links(self) -> list[tuple[str, str, DirectedLink]]:
        """All links in use, in a fixed order."""
        return [(source, target, link) for (source, target), link in sorted(self._links.items())]

    def endpoint(self, name: str) -> Endpoint | None:
        """Who answers to `name` now, or None: nothing of that name listens."""
        found = self._endpoints.get(name)
        return found if found is not None and found.process.alive else None

    def send(
        self, source: str, target: str, payload: bytes, refused: Refused, *, is_once: bool = False
    ) -> None:
        """Carry `payload`; `refused` runs at the sender when nobody listens at the target.

        Lost bytes tell nobody: the sender's deadline has to.  `is_once` is never duplicated.
        """
        link = self.link(source, target)
        if link.is_cut or (link.loss and self._draws.random() < link.loss):
            self._trace.fault("cut" if link.is_cut else "loss", f"{source}>{target}")
            return
        is_dialled = self.endpoint(target) is not None  # else nobody shook hands: no later run may take it
        copies = 1
        if link.duplicate and not is_once and self._draws.random() < link.duplicate:
            self._trace.fault("duplicate", f"{source}>{target}")
            copies = 2
        for _ in range(copies):
            at = self._arrival(link, source, target)
            arrive = self._arrive if is_dialled else self._turn_away
            self._carry(link, at, partial(arrive, source, target, payload, refused, copies == 1))

    def let_go(self, link: DirectedLink) -> None:
        """It is stuck no longer: what it holds arrives now, in the order in which it would have."""
        now = self._loop.time()
        held, link.held = link.held, []
        link.stuck_until, link.last_arrival = 0.0, now
        for timer, arrive in sorted(held, key=_when):
            if timer.when() > now:
                timer.cancel()
                self._loop.carry(now, link.line, arrive)

    def spring(self, name: str, method: str, timeout_s: float) -> None:
        """A write for this node to coordinate, or a change of a keyspace, is about to be sent."""
        trap = self.traps.get(name)
        if trap is not None and trap(method, timeout_s):
            self.traps.pop(name, None)

    def note_late(self, name: str, method: str) -> None:
        """An operation waited past its deadline in the socket of a process that was stopped or slow."""
        self._trace.fault("late_work", f"{name} {method}")

    def break_connections(self, name: str) -> None:
        """The process of that name was killed and its machine lives: whoever it can reach hears of it."""
        for other, endpoint in sorted(self._endpoints.items()):
            link = self.link(name, other)
            if other != name and endpoint.process.alive and not link.is_cut:
                at = self._arrival(link, name, other)
                self._carry(link, at, partial(self._loop.call_in, endpoint.process, endpoint.reset, name))

    def _carry(self, link: DirectedLink, at: float, arrive: Callable[[], object]) -> None:
        timer = self._loop.carry(at, link.line, arrive)
        if link.stuck_until > self._loop.time():
            link.held.append((timer, arrive))

    def _arrival(self, link: DirectedLink, source: str, target: str) -> float:
        now = self._loop.time()
        at = max(now, link.stuck_until) + link.latency_s + link.jitter_s * self._draws.random()
        if link.reorder and self._draws.random() < link.reorder:
            self._trace.fault("reorder", f"{source}>{target}")
            return at + 20 * link.jitter_s * self._draws.random()
        link.last_arrival = max(at, link.last_arrival)
        return link.last_arrival

    def _arrive(self, source: str, target: str, payload: bytes, refused: Refused, is_only_copy: bool) -> None:
        endpoint = self.endpoint(target)
        if endpoint is not None:
            self._trace.note(target, f"gets from {source}", payload)
            self._loop.call_in(endpoint.process, endpoint.receive, source, payload)
        else:
            self._turn_away(source, target, payload, refused, is_only_copy)

    def _turn_away(
        self, source: str, target: str, _payload: bytes, refused: Refused, is_only_copy: bool
    ) -> None:
        back = self.link(target, source)
        sender = self.endpoint(source)
        if sender is not None and not back.is_cut:
            self._trace.note(source, f"is refused by {target}")
            self._loop.call_in(sender.process, refused, is_only_copy)
