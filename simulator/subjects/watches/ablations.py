"""Safeguards that watches rely on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest
from ringmill.node.requests.watches.watches import Watches
from ringmill.simulator.bending import Ablation, Bends, method
from ringmill.simulator.options import usual_options

__all__ = ["WATCH_ABLATIONS"]

_CUT: Final = replace(
    usual_options(("watches",)),
    faults=("split_one", "split_halves", "one_way", "flapping", "loss", "slow_link", "crash"),
)


def _from_the_cursor() -> Bends:
    """A watch begins at the moment of its call, wherever its caller had been."""
    watch = Watches.watch

    async def from_now(watches: Watches, request: WatchRequest) -> ReadResult | None:
        first = await watches._read(request, Deadline.after(1.0, watches._clock))
        return await watch(watches, request._replace(after=first.context))

    return (method(Watches.watch, from_now),)


def _cursor_covered() -> Bends:
    async def read_anything(watches: Watches, request: Any, deadline: Any) -> ReadResult:
        options = ReadOptions(request.options.level)
        return await watches._reader.read(
            ReadRequest(request.keyspace, request.key, options, request.epoch, min(5.0, deadline.left_s))
        )

    return (method(Watches._read, read_anything),)


WATCH_ABLATIONS: Final = (
    Ablation(
        "watch-from-cursor",
        "a watch begins where its caller had been, and not at its call",
        _from_the_cursor(),
        _CUT,
        rules=("N1",),
    ),
    Ablation(
        "watch-cursor-covered",
        "a watch is told nothing that lacks what its caller has seen",
        _cursor_covered(),
        _CUT,
        rules=("N2",),
    ),
)
