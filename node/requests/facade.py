"""The interface of the requests room, and the only access to keys for services that face clients.

The gRPC service calls only these methods, and a gateway for another protocol would do the same.  A request is
a plain value (node/requests/request_values.py), independent of the protocol it came over.
"""

from __future__ import annotations

from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet
from ringmill.node.requests.explain.explainer import Explainer
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces
from ringmill.node.requests.owners.hedging import Hedging
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
        hedging: Hedging,
    ) -> None:
        self.hedging = hedging
        """What reads do about answers that are late, to be looked at."""
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

    async def write(self, request: WriteRequest) -> QuorumReceipt:
        """Put, delete or touch a key.  Raises what Writer.write raises."""
        return await self._writer.write(request)

    async def get(self, request: ReadRequest) -> ReadResult:
        """What a key holds.  Raises what Reader.read raises."""
        return await self._reader.read(request)

    async def watch(self, request: WatchRequest) -> ReadResult | None:
        """Wait until a key holds something new.  Raises what Watches.watch raises."""
        return await self._watches.watch(request)

    async def watch_prefix(self, request: PrefixRequest) -> PrefixNews:
        """Wait until a key with a prefix changes.  Raises what PrefixWatches.poll raises."""
        return await self._prefix_watches.poll(request)

    def end_watches(self) -> None:
        """End all watches: the node stops."""
        self._held_watches.end()

    def write_batch(self) -> WriteBatch:
        """A batch for writes that came together: those that can be are applied at once."""
        return self._writer.batch()

    def read_batch(self) -> ReadBatch:
        """A batch for gets that came together: they need no task as long as all owners say the same."""
        return self._reader.batch()

    async def change_register(self, request: ChangeRequest) -> RegisterResult:
        """Compare and set, or count.  Raises what RegisterCoordinator.change raises."""
        return await self._registers.change(request)

    async def read_register(self, request: RegisterRead) -> RegisterResult:
        """What a register holds.  Raises what RegisterCoordinator.read raises."""
        return await self._registers.read(request)

    async def bring_register(self, where: RegisterRead, encoded: bytes) -> None:
        """Merge what a backup holds of a register into it.  Raises what RegisterCoordinator.bring raises."""
        await self._registers.bring(where, encoded)

    async def finish_register(self, keyspace: str, key: bytes) -> None:
        """Have all owners hold what a register holds.  Raises what RegisterCoordinator.finish raises."""
        await self._registers.finish(RegisterRead(keyspace, key))

    def own_registers(self) -> OwnRegisters:
        """The registers, for the rooms of this node."""
        return OwnRegisters(self._registers)

    def own_keyspaces(self) -> OwnKeyspaces:
        """The keyspaces of keys, for the jobs of this node."""
        return self._own_keyspaces

    async def explain(self, request: ReadRequest) -> ExplainedGet:
        """Do a read, and return how it went.  Raises what Explainer.explain raises."""
        return await self._explainer.explain(request)

    async def locate(self, request: LocateRequest) -> Located:
        """Where a key lives, and what each owner holds of it.  Raises what Locator.locate raises."""
        return await self._locator.locate(request)

    async def scan(self, request: ScanRequest) -> ScanResult:
        """The next page of a scan.  Raises what Scanner.page raises."""
        return await self._scanner.page(request)
