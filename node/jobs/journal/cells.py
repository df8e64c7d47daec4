"""The registers in which jobs are kept: their names, and changes that go on until their outcome is certain.

They lie in the keyspace `registers`, under a prefix that no client may use
(node/services/registers_service.py).
Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from ringmill.cluster.consensus.forgotten_journals import JOURNALS
from ringmill.cluster.errors import Conflict, InvalidArgument, NotFound, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.contracts import RegisterAccess

__all__ = [
    "COORDINATOR", "INDEX", "Cells", "Fenced", "ForgottenJournal", "LeaseCell", "SeenCell", "entry_key",
    "node_of",
]  # fmt: skip

COORDINATOR: Final = b"ringmill/coordinator"
INDEX: Final = b"ringmill/jobs"
_TIMEOUT_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class Fenced(Unavailable):
    """Another node coordinates with a higher term: this one stops permanently (rule J13)."""


class ForgottenJournal(Fenced):
    """The journal is of a job that is in no list any more (rule J29)."""


class SeenCell(NamedTuple):
    version: int
    value: bytes | None


def entry_key(journal: str, slot: int) -> bytes:
    """The register of a slot of a job's journal."""
    return JOURNALS + f"{journal}/{slot}".encode()


class Cells:
    """Reads and changes of registers, repeated until they are done."""

    def __init__(self, registers: RegisterAccess) -> None:
        self._registers = registers

    @property
    def former_term(self) -> int:
        """See RegisterAccess."""
        return self._registers.former_term

    async def look(self, key: bytes, timeout_s: float = _TIMEOUT_S) -> SeenCell:
        """One read; of a journal that is forgotten nothing is there.  Raises RingmillError."""
        try:
            return SeenCell(*await self._registers.read_cell(key, timeout_s))
        except NotFound:
            return SeenCell(0, None)

    async def read(self, key: bytes) -> SeenCell:
        """Read until a majority of the owners answers."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self.look(key)
            except RingmillError:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def set(self, key: bytes, value: bytes | None, version: int, timeout_s: float = _TIMEOUT_S) -> int:
        """One change of a register that is in this version; returns its next.  Raises RingmillError."""
        return await self._registers.set_cell(key, value, version, timeout_s)

    async def write(self, key: bytes, value: bytes, version: int) -> SeenCell | None:
        """Change a register that is in this version, until it is certain whether it was changed.

        Returns None when the change came about, by this call or by an earlier one, else what is there.
        Raises InvalidArgument for what no register takes, such as a value above 1 MiB: nothing was changed;
        ForgottenJournal for a register of a journal that is forgotten.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self.set(key, value, version)
            except Conflict as conflict:
                seen = SeenCell(int(conflict.detail["version"]), conflict.detail["current"])
                return None if seen.value == value else seen  # each value names its term and is written once
            except NotFound as error:
                raise ForgottenJournal(error.message, outcome="failed") from error
            except InvalidArgument:
                raise
            except RingmillError:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return None


class LeaseCell:
    """The register of the coordinator's lease, as cluster/consensus/leases.py asks for it."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def get(self, *, timeout: float) -> SeenCell:
        return await self._cells.look(COORDINATOR, timeout)

    async def set(self, value: bytes, version: int, *, timeout: float) -> int:
        return await self._cells.set(COORDINATOR, value, version, timeout)


def node_of(holder: str) -> NodeId | None:
    """The node that a lease names; None for a free one."""
    return NodeId(holder.rpartition("/")[0]) if holder else None
