"""Safeguards of time on the request path: deadlines, wall clocks, ttl."""

from __future__ import annotations

from typing import Any, Final

import ringmill.simulator.world.transport
from ringmill.client.routing.links import Method, SendingLink
from ringmill.client.routing.router import Prepare, Router
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.mergeable import Update
from ringmill.cluster.wire.sending_time import left_us
from ringmill.node.replica.object_store import Intent
from ringmill.node.replica.routes import Route
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.requests.write import Writer
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["TIME"]


def _judged_from_sending() -> Patches:
    """A deadline counts from the moment a frame is read."""

    def judge(remaining_us: int, sent_us: int | None, now_us: int) -> int:
        return remaining_us

    return (function(ringmill.simulator.world.transport, left_us, judge),)


def _clocks_compared() -> Patches:
    """After a jump of its wall clock a node believes nobody, as if it were always alone with it."""
    return (method(HybridClock.accept_jump, lambda clock: None),)


def _whole_ttl() -> Patches:
    """A value lives a tenth of its ttl."""
    intent = Writer._intent

    def short(writer: Writer, request: WriteRequest, route: Route, update: Update | None) -> Intent:
        whole = intent(writer, request, route, update)
        return whole._replace(ttl_ms=whole.ttl_ms // 10)

    return (method(Writer._intent, short),)


def _shared_expiry() -> Patches:
    """Expiry is judged by each node's own wall clock."""
    return (method(HybridClock.expiry_ms, lambda clock: int(clock._clock.wall() * 1000)),)


def _touch_observes() -> Patches:
    """A touch keeps what its coordinator knows by itself."""
    observe = Writer._observe

    async def trust_own(writer: Writer, route: Route, r: int, intent: Intent, *rest: Any) -> None:
        if intent.touched_value is None:
            await observe(writer, route, r, intent, *rest)

    return (method(Writer._observe, trust_own),)


def _call_ends() -> Patches:
    """A client waits ten seconds longer for an answer than its caller does."""
    hand_over = Router.hand_over

    def wait_on(
        router: Router,
        sender: SendingLink,
        attempt: Any,
        asked: Method[Any],
        prepare: Prepare,
        unsure: int,
        timeout_s: float,
        whole_s: float,
    ) -> None:
        hand_over(router, sender, attempt, asked, prepare, unsure, timeout_s + 10.0, whole_s)

    return (method(Router.hand_over, wait_on),)


_SKEWED: Final = SimulationOptions(nodes=3, keys=2, operations=200, faults=("skewed_clock",))
_STEPS: Final = SimulationOptions(faults=("host_clock_step",))
_LATE_SOCKETS: Final = SimulationOptions(keys=2, operations=200, faults=("pause", "late_socket"))

TIME: Final = (
    Ablation(
        "call-ends",
        "a call ends when its time is over, whoever is silent",
        _call_ends(),
        SimulationOptions(faults=("pause", "split_one", "one_way")),
        rules=("D1",),
    ),
    Ablation(
        "judged-from-sending",
        "a deadline counts from the sending of a request, not from its reading",
        _judged_from_sending(),
        _LATE_SOCKETS,
        rules=("D2",),
    ),
    Ablation(
        "clocks-compared",
        "a node whose clock stepped as the others' did goes on",
        _clocks_compared(),
        _STEPS,
        rules=("V6",),
    ),
    Ablation(
        "whole-ttl",
        "a value is shown until its ttl is over",
        _whole_ttl(),
        SimulationOptions(faults=()),
        rules=("G3",),
    ),
    Ablation(
        "shared-expiry", "expiry goes by the median of all clocks", _shared_expiry(), _SKEWED, rules=("G3",)
    ),
    Ablation(
        "touch-observes",
        "a touch keeps what R owners hold, not what its coordinator knows",
        _touch_observes(),
        SimulationOptions(operations=300, keys=2, faults=("loss", "split_one", "one_way", "slow_link")),
        rules=("V11",),
    ),
)
