"""The interface of the requests room, and the only access to keys for services that face clients.

The gRPC service calls only these methods, and a gateway for another protocol would do the same.  A request is
a plain value (node/requests/request_values.py), independent of the protocol it came over.
"""

from __future__ import annotations

from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet
from ringmill.node.requests.explain.explainer import Explainer
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces
from ringmill.node.requests.owners.locate import Locator
from ringmill.node.requests.read import ReadBatch, Reader
from ringmill.node.requests.registers.coordinator import RegisterCoordinator
from ringmill.node.requests.registers.own_registers import OwnRegisters
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from ringmill.node.requests.request_values import (
    Located,
    LocateRequest,
    ReadRequest,
    ReadResult,
    WatchRequest,
    WriteRequest,
)
from ringmill.node.requests.scans.scan_values import ScanRequest, ScanResult
from ringmill.node.requests.scans.scanner import Scanner
from ringmill.node.requests.watches.held_watches import HeldWatches
from ringmill.node.requests.watches.prefix_watches import PrefixNews, PrefixRequest, PrefixWatches
from ringmill.node.requests.watches.watches import Watches
from ringmill.node.requests.write import WriteBatch, Writer

__all__ = ["Requests"]


class Requests:
    def __init__(
        self,
        *,
        writer: Writer,
        reader: Reader,
        registers: RegisterCoordinator,
        locator: Locator,
        watches: Watches,
        prefix_watches: PrefixWatches,
        held_watches: HeldWatches,
        scanner: Scanner,
        explainer: Explainer,
        own_keyspaces: OwnKeyspaces,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._registers = registers
        self._locator = locator
        self._watches = watches
        self._prefix_watches = prefix_watches
        self._held_watches = held_watches
        self._scanner = scanner
        self._explainer = explainer
        self._own_keyspaces = own_keyspaces

    @property
    def read_repairs(self) -> int:
        """Copies of owners that reads have repaired since the start."""
        return self._reader.repaired

    async def put(self, request: WriteRequest) -> QuorumReceipt:
        """Write a value.  Raises as Writer.write."""
        assert request.value is not None, "a put has a value"
        return await self._writer.write(request)

    async def delete(self, request: WriteRequest) -> QuorumReceipt:
        """Write a tombstone.  Raises as Writer.write."""
        assert request.value is None, "a delete has no value"
        return await self._writer.write(request)

    async def touch(self, request: WriteRequest) -> QuorumReceipt:
        """Give the present value another expiry.  Raises as Writer.write."""
        assert request.is_touch, "a touch finds its value"
        return await self._writer.write(request)

    async def get(self, request: ReadRequest) -> ReadResult:
        """What a key holds.  Raises as Reader.read."""
        return await self._reader.read(request)

    async def watch(self, request: WatchRequest) -> ReadResult | None:
        """Wait until a key holds something new.  Raises as Watches.watch."""
        return await self._watches.watch(request)

    async def watch_prefix(self, request: PrefixRequest) -> PrefixNews:
        """Wait until a key with a prefix changes.  Raises as PrefixWatches.poll."""
        return await self._prefix_watches.poll(request)

    def end_watches(self) -> None:
        """The node stops: nobody may wait here any more."""
        self._held_watches.end()

    def write_batch(self) -> WriteBatch:
        """For writes that came together, to be applied at once where they can be."""
        return self._writer.batch()

    def read_batch(self) -> ReadBatch:
        """For gets that came together, which need no task as long as all owners say the same."""
        return self._reader.batch()

    async def change_register(self, request: ChangeRequest) -> RegisterResult:
        """Compare and set, or count.  Raises as RegisterCoordinator.change."""
        return await self._registers.change(request)

    async def read_register(self, request: RegisterRead) -> RegisterResult:
        """What a register holds.  Raises as RegisterCoordinator.read."""
        return await self._registers.read(request)

    async def bring_register(self, where: RegisterRead, encoded: bytes) -> None:
        """Have a register hold what a backup holds of it.  Raises as RegisterCoordinator.bring."""
        await self._registers.bring(where, encoded)

    async def settle_register(self, keyspace: str, key: bytes) -> None:
        """Have all owners hold what a register holds.  Raises as RegisterCoordinator.settle."""
        await self._registers.settle(RegisterRead(keyspace, key))

    def own_registers(self) -> OwnRegisters:
        """For the rooms of this node."""
        return OwnRegisters(self._registers)

    def own_keyspaces(self) -> OwnKeyspaces:
        """The same, for what jobs read and write."""
        return self._own_keyspaces

    async def explain(self, request: ReadRequest) -> ExplainedGet:
        """Do a read, and tell how it went.  Raises as Explainer.explain."""
        return await self._explainer.explain(request)

    async def locate(self, request: LocateRequest) -> Located:
        """Where a key lives, and what each owner holds of it.  Raises as Locator.locate."""
        return await self._locator.locate(request)

    async def scan(self, request: ScanRequest) -> ScanResult:
        """The next page of a scan.  Raises as Scanner.page."""
        return await self._scanner.page(request)
