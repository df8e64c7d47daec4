"""Registers for the node's own rooms: what they keep there is as safe as what clients keep."""

from __future__ import annotations

from ringmill.cluster.consensus.register import Cas
from ringmill.node.requests.registers.coordinator import RegisterCoordinator
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead

__all__ = ["OwnRegisters"]


class OwnRegisters:
    """A RegisterAccess (node/contracts.py)."""

    def __init__(self, registers: RegisterCoordinator) -> None:
        self._registers = registers

    @property
    def former_term(self) -> int:
        return self._registers.forgotten.known.before.term

    async def read_cell(self, key: bytes, timeout_s: float) -> tuple[int, bytes | None]:
        found = await self._registers.read(RegisterRead("", key, timeout_s))
        return found.version, found.value

    async def set_cell(self, key: bytes, value: bytes | None, version: int, timeout_s: float) -> int:
        change = Cas(None, value, version)
        done = await self._registers.change(ChangeRequest(RegisterRead("", key, timeout_s), change, None))
        return done.version
