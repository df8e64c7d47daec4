"""Unary methods behind the gate: a generated client is let in, kept waiting or refused as a session is.

Rules O2, O3 and O4: docs/protocol/overload.md.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.core import Core
from ringmill.node.services.table import Call, Unary

__all__ = ["behind_gate"]

_CLIENT = NodeId("")


def behind_gate(core: Core, name: str, method: Unary, priority: Priority) -> Unary:
    """The method, which raises Overloaded as well, with nothing done.  `name` is told in errors."""

    async def run(body: bytes, call: Call) -> bytes:
        def let_in(_: Incoming) -> Awaitable[bytes]:
            return method.run(body, call)

        left_s = math.inf if call.left_s is None else call.left_s
        deadline = core.clock.monotonic() + left_s
        result = core.gate.guard_call(let_in, priority)(Incoming(_CLIENT, name, body, deadline, priority))
        return result if isinstance(result, bytes) else await result

    return Unary(run, method.tells_clock)
