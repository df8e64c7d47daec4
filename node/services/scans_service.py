"""The API of scans: decodes, asks the room of requests, encodes.  It decides nothing.

Pages are plain calls: a client that does not read asks for no more of them, and what was made waits within
the bounds of all answers (rule O5).
"""

from __future__ import annotations

from ringmill.cluster.ids import Epoch
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.scan_cursor import ScanBounds
from ringmill.cluster.wire.stubs.kv_pb2 import Sibling
from ringmill.cluster.wire.stubs.scans_pb2 import ScanItem, ScanPage
from ringmill.cluster.wire.stubs.scans_pb2 import ScanRequest as ScanMessage
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.scans.scan_values import ScannedKey, ScanRequest
from ringmill.node.services.table import Call, Service, unary

__all__ = ["ScansService"]


class ScansService:
    def __init__(self, requests: Requests, gate: Gate) -> None:
        self._requests = requests
        self._gate = gate

    def service(self) -> Service:
        return Service("ringmill.v1.Scans", {"Page": unary(ScanMessage, self._page, tells_clock=True)})

    async def _page(self, message: ScanMessage, call: Call) -> ScanPage:
        self._gate.check_scan()  # rule O7
        result = await self._requests.scan(
            ScanRequest(
                message.keyspace,
                ScanBounds(message.prefix, message.start, message.end),
                message.cursor,
                message.limit,
                message.keys_only,
                message.deleted_too,
                ReadOptions(message.r, message.timeout_ms / 1000),
                Epoch(message.epoch),
                call.left_s,
            )
        )
        return ScanPage(
            items=map(_item, result.items),
            cursor=result.cursor,
            weak=result.is_weak,
            epoch=result.epoch,
            hybrid_time=result.time,
            partition=result.partition,
            partitions=result.partitions,
            judged_at_ms=result.judged_at_ms,
        )


def _item(scanned: ScannedKey) -> ScanItem:
    siblings = [
        Sibling(
            value=each.value or b"",
            dot=str(each.dot),
            hybrid_time=each.time,
            expires_at_ms=each.expires_at_ms,
        )
        for each in scanned.siblings
    ]
    return ScanItem(key=scanned.key, siblings=siblings, context=scanned.context)
