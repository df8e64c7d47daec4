"""Which journals of jobs are forgotten, as this node knows it and keeps it on its disk.

An owner refuses all that is asked of their registers, from the moment on at which this is on its disk: so it
may remove them alone (node/repair/journals/journal_removal.py).

Rule J29: docs/protocol/jobs.md.  Layout: docs/formats/control.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.consensus.forgotten_journals import NONE_FORGOTTEN, ForgottenJournals
from ringmill.cluster.errors import NotFound
from ringmill.node.contracts import ControlState

__all__ = ["ForgottenStore"]

_NAME: Final = "forgotten-journals"


class ForgottenStore:
    """Raises CorruptData, ProtocolMismatch when what is kept does not decode."""

    def __init__(self, control: ControlState) -> None:
        self._control = control
        self._storing = asyncio.Lock()
        kept = control.get(_NAME)
        self.known = NONE_FORGOTTEN if kept is None else ForgottenJournals.decode(kept)

    def check(self, key: bytes) -> None:
        """Raise NotFound when a register of the cluster itself is one of a journal that is forgotten."""
        if self.known.covers(key):
            raise NotFound(f"the journal of {key[:100].decode(errors='replace')} is forgotten")

    async def learn(self, journals: ForgottenJournals) -> None:
        """Keep which journals are forgotten, if more are than was known.  Durable on return, and obeyed then.

        Raises what `ControlState.put_synced` raises.
        """
        async with self._storing:
            if journals.is_more_than(self.known):
                await self._control.put_synced(_NAME, journals.encode())
                self.known = journals
