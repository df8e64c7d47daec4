"""Answers members that have snapshots of this node's store held, and that read them page by page.

Rule J27: docs/protocol/jobs.md.  Pages are those of node/replica/pages.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.cluster.ring.topology import Row
from ringmill.node.replica.packing import check_column, pack, unpack
from ringmill.node.replica.pages import Page, PageServing, ReadPage, checked_page
from ringmill.node.replica.snapshots.held_snapshots import HeldSnapshots

__all__ = [
    "HOLD_SNAPSHOT",
    "KEEP_SNAPSHOT",
    "RELEASE_SNAPSHOT",
    "ReadSnapshotPage",
    "SnapshotServing",
    "ask_snapshot_page",
    "held_partitions",
]

HOLD_SNAPSHOT: Final = "snapshot.hold"
KEEP_SNAPSHOT: Final = "snapshot.keep"
RELEASE_SNAPSHOT: Final = "snapshot.release"
_PAGE: Final = "snapshot.page"
_MOST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class ReadSnapshotPage:
    """Asks what an owner held of a range when the snapshot was taken."""

    wanted: ReadPage
    snapshot: str

    def encode(self) -> bytes:
        return pack([self.snapshot, self.wanted.encode()])

    @classmethod
    def decode(cls, body: bytes) -> ReadSnapshotPage:
        """Raises ProtocolMismatch."""
        snapshot, wanted = unpack(body, (str, bytes))
        return cls(ReadPage.decode(wanted), snapshot)


class SnapshotServing:
    def __init__(self, *, held: HeldSnapshots, pages: PageServing) -> None:
        self._held = held
        self._pages = pages

    def handlers(self) -> Mapping[str, Handler]:
        return {
            HOLD_SNAPSHOT: self.hold,
            KEEP_SNAPSHOT: self.keep,
            RELEASE_SNAPSHOT: self.release,
            _PAGE: self.answer,
        }

    async def hold(self, incoming: Incoming) -> bytes:
        """Raises Overloaded, Unavailable."""
        return pack([self._held.hold(_name(incoming.body))])

    async def keep(self, incoming: Incoming) -> bytes:
        """Raises NotFound."""
        self._held.keep(_name(incoming.body))
        return b""

    async def release(self, incoming: Incoming) -> bytes:
        self._held.release(_name(incoming.body))
        return b""

    async def answer(self, incoming: Incoming) -> bytes:
        """Raises as a page does; NotFound when the snapshot does not speak for the partition."""
        asked = ReadSnapshotPage.decode(incoming.body)
        page = await self._pages.page(
            asked.wanted, incoming, lambda copy: self._held.of(asked.snapshot, copy)
        )
        return page.encode()


def _name(body: bytes) -> str:
    (name,) = unpack(body, (str,))
    if not 0 < len(name) <= _MOST_NAME:
        raise InvalidArgument(
            f"the name of a snapshot has {len(name)} characters; 1 to {_MOST_NAME} are allowed"
        )
    return str(name)


def held_partitions(answer: bytes) -> set[PartitionId]:
    """The partitions that an answer to HOLD_SNAPSHOT names.  Raises ProtocolMismatch."""
    (partitions,) = unpack(answer, (list,))
    check_column(partitions, int)
    return set(map(PartitionId, partitions))


async def ask_snapshot_page(
    transport: Transport, node: NodeId, request: ReadSnapshotPage, row: Row, *, timeout_s: float
) -> Page:
    """Ask an owner for a page of its snapshot.  Raises as `ask_page` does."""
    answer = await transport.call(node, _PAGE, request.encode(), timeout_s=timeout_s, priority=Priority.BULK)
    return Page.decode(checked_page(answer, node, request.wanted, row).body)
