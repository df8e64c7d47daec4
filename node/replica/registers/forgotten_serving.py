"""Tells another node which journals are forgotten here, and asks another node for it.

An owner that has removed registers of such journals tells nothing of them.  Who fills or heals a copy by what
it tells must refuse them, too, or it could take for true what an owner has that has missed all of it.

Rules J29 (docs/protocol/jobs.md), R2 (docs/protocol/registers.md) and M5 (docs/protocol/moves.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringmill.cluster.consensus.forgotten_journals import ForgottenJournals
from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.node.replica.registers.forgotten_store import ForgottenStore

__all__ = ["TELL_FORGOTTEN", "ForgottenServing", "learn_forgotten"]

TELL_FORGOTTEN: Final = "register.forgotten"
_TIMEOUT_S: Final = 5.0


class ForgottenServing:
    def __init__(self, forgotten: ForgottenStore) -> None:
        self._forgotten = forgotten

    def handlers(self) -> Mapping[str, Handler]:
        return {TELL_FORGOTTEN: self.tell}

    async def tell(self, incoming: Incoming) -> bytes:
        return self._forgotten.known.encode()


async def learn_forgotten(transport: Transport, node: NodeId, forgotten: ForgottenStore) -> None:
    """Keep what another node knows, after it has told of its registers.  Raises what the call and the disk
    raise."""
    try:
        body = await transport.call(node, TELL_FORGOTTEN, b"", timeout_s=_TIMEOUT_S, priority=Priority.REPAIR)
    except ProtocolMismatch:
        return  # a node of an earlier release, which has removed none
    await forgotten.learn(ForgottenJournals.decode(body))
