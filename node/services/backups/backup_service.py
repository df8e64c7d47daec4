"""The Backup service: decodes, asks the room of backups, encodes.

Whoever reads tables reads all values, and whoever brings objects says what they have replaced, so every
method needs the role admin (node/services/access/method_roles.py).  Contract: proto/backup.proto.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.os_errors import error_text
from ringmill.cluster.ring.access.access_changes import without_access
from ringmill.cluster.wire.stubs.backup_pb2 import (
    BringObjectsRequest,
    BringObjectsResponse,
    BringRegistersRequest,
    BringRegistersResponse,
    HashTableRequest,
    HashTableResponse,
    LookRequest,
    LookResponse,
    PinnedTable,
    PinRequest,
    PinResponse,
    ReadTableRequest,
    ReadTableResponse,
    UnpinRequest,
    UnpinResponse,
)
from ringmill.node.backups.room import Backups
from ringmill.node.contracts import TopologyView
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.registers.register_values import RegisterRead
from ringmill.node.services.table import Call, Service, Unary, unary
from ringmill.node.services.topology_service import NodeCard

__all__ = ["BackupService"]

Request = TypeVar("Request", bound=Message)


class BackupService:
    def __init__(
        self, card: NodeCard, *, backups: Backups, requests: Requests, topology: TopologyView
    ) -> None:
        self._card = card
        self._pins = backups.pins
        self._bringing = backups.bringing
        self._requests = requests
        self._topology = topology

    def service(self) -> Service:
        return Service(
            "ringmill.v1.Backup",
            {
                "Look": self._read_by(LookRequest, self._look),
                "Pin": self._read_by(PinRequest, self._pin),
                "HashTable": self._read_by(HashTableRequest, self._hash_table),
                "ReadTable": self._read_by(ReadTableRequest, self._read_table),
                "Unpin": self._read_by(UnpinRequest, self._unpin),
                "BringObjects": self._read_by(BringObjectsRequest, self._bring_objects),
                "BringRegisters": self._read_by(BringRegistersRequest, self._bring_registers),
            },
        )

    def _read_by(self, kind: type[Request], answer: Callable[[Request], Awaitable[Message]]) -> Unary:
        async def answered(request: Request, call: Call) -> Message:
            try:
                return await answer(request)
            except OSError as error:
                raise CorruptData(f"{self._card.node} cannot read a table: {error_text(error)}") from error

        return unary(kind, answered)

    async def _look(self, request: LookRequest) -> LookResponse:
        holding = await self._pins.holding(list(request.keyspaces))
        pins = self._pins
        return self._told(self._topology.serving_topology().epoch, pins.removals, pins.is_owing, holding)

    async def _pin(self, request: PinRequest) -> PinResponse:
        pin = await self._pins.pin()
        return PinResponse(
            node=self._told(pin.topology.epoch, pin.removals, pin.is_owing),
            pin=pin.name,
            sequence=pin.tables.sequence,
            edit=pin.tables.edit,
            tables=[PinnedTable(file=meta.file_id, bytes=meta.size) for meta in pin.tables.tables],
            lacking=pin.lacking,
            lacks_hints=pin.lacks_hints,
            topology=without_access(pin.topology).encode(),
        )

    async def _hash_table(self, request: HashTableRequest) -> HashTableResponse:
        return HashTableResponse(sha256=await self._pins.sha256(request.pin, request.file))

    async def _read_table(self, request: ReadTableRequest) -> ReadTableResponse:
        return ReadTableResponse(data=await self._pins.read(request.pin, request.file, request.offset))

    async def _unpin(self, request: UnpinRequest) -> UnpinResponse:
        self._pins.unpin(request.pin)
        return UnpinResponse()

    async def _bring_objects(self, request: BringObjectsRequest) -> BringObjectsResponse:
        await self._bringing.bring(
            request.keyspace,
            PartitionId(request.partition),
            Epoch(request.epoch),
            _paired(request.keys, request.objects),
        )
        return BringObjectsResponse()

    async def _bring_registers(self, request: BringRegistersRequest) -> BringRegistersResponse:
        """Raises as RegisterCoordinator.bring."""
        for key, register in _paired(request.keys, request.registers):
            where = RegisterRead(request.keyspace, key, request.timeout_ms / 1000)
            await self._requests.bring_register(where, register)
        return BringRegistersResponse()

    def _told(self, epoch: Epoch, removals: int, is_owing: bool, holding: Sequence[str] = ()) -> LookResponse:
        return LookResponse(
            node=self._card.node,
            disk=self._card.disk,
            start=self._card.start.number,
            boot=self._card.start.boot,
            epoch=epoch,
            removals=removals,
            is_owing=is_owing,
            up_ms=round(self._pins.up_s * 1000),
            holding=holding,
        )


def _paired(keys: Sequence[bytes], values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    if len(keys) != len(values):
        raise InvalidArgument(f"{len(keys)} keys and {len(values)} values: need as many of both")
    return list(zip(keys, values, strict=True))
