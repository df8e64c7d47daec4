"""Unary methods behind the gate: a generated client is let in, kept waiting or refused as a session is.

Rules O2, O3 and O4: docs/protocol/overload.md.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from dataclasses import replace

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.core import Core
from ringmill.node.services.table import Call, Unary

__all__ = ["behind_gate"]

_CLIENT = NodeId("")


def behind_gate(core: Core, name: str, method: Unary, priority: Priority) -> Unary:
    """The method, which raises Overloaded as well, with nothing done.  `name` is told in errors.

    A call that waited has what is left of its time (rule D1, docs/protocol/requests.md).
    """

    async def run(body: bytes, call: Call) -> bytes:
        came_at = core.clock.boottime()

        def let_in(_: Incoming) -> Awaitable[bytes]:
            return method.run(body, _less(call, core.clock.boottime() - came_at))

        deadline = came_at + (math.inf if call.left_s is None else call.left_s)
        result = core.gate.guard_call(let_in, priority)(Incoming(_CLIENT, name, body, deadline, priority))
        return result if isinstance(result, bytes) else await result

    return replace(method, run=run)


def _less(call: Call, waited_s: float) -> Call:
    if call.left_s is None or waited_s <= 0:
        return call
    return replace(call, left_s=call.left_s - waited_s)
