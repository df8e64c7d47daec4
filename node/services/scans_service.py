"""The API of scans: decodes, asks the room of requests, encodes.  It decides nothing.

Pages are plain calls: a client that does not read asks for no more of them, and what was made waits within
the bounds of all answers (rule O5).  They have a line of their own at the gate (rule O4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringmill.cluster.ids import Epoch
from ringmill.cluster.ports import Priority
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.scan_cursor import ScanBounds
from ringmill.cluster.wire.stubs.kv_pb2 import Sibling
from ringmill.cluster.wire.stubs.scans_pb2 import ScanItem, ScanPage
from ringmill.cluster.wire.stubs.scans_pb2 import ScanRequest as ScanMessage
from ringmill.node.core import Core
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.scans.scan_values import ScannedKey, ScanRequest
from ringmill.node.services.behind_gate import behind_gate
from ringmill.node.services.table import Call, Service, unary

__all__ = ["ScansService"]

_PAGE: Final = "a page of a scan"


class ScansService:
    def __init__(self, core: Core, requests: Requests) -> None:
        self._core = core
        self._requests = requests

    def service(self) -> Service:
        page = unary(ScanMessage, self._page, tells_clock=True)
        waits = behind_gate(self._core, _PAGE, page, Priority.BULK)

        async def run(body: bytes, call: Call) -> bytes:
            self._core.gate.check_scan()  # rule O7
            return await waits.run(body, call)

        return Service("ringmill.v1.Scans", {"Page": replace(page, run=run)})

    async def _page(self, message: ScanMessage, call: Call) -> ScanPage:
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
