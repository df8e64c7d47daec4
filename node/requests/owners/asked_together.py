"""What the reads of one frame ask of an owner travels in one message.

Each read goes its own way: only its first questions wait, until all reads of the frame have begun.  An owner
leaves out what it cannot tell at once, and is asked for that alone.  A question without company is sent as if
its read had come alone.  Rule G1: docs/protocol/reads.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.node.replica.replica_messages import MOST_TOGETHER
from ringmill.node.requests.owners.collection import Collection

__all__ = ["AskedTogether"]

Send: TypeAlias = Callable[[NodeId, Sequence[Collection]], None]


class AskedTogether:
    """The questions of reads that begin in one turn of the loop.

    `send` sends those of one keyspace and epoch to one owner.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[tuple[NodeId, KeyspaceId, Epoch], list[Collection]] = {}

    def add(self, collection: Collection, node: NodeId) -> None:
        route = collection.route
        waiting = self._waiting.setdefault((node, route.keyspace.id, route.epoch), [])
        waiting.append(collection)
        if len(waiting) == MOST_TOGETHER:
            del self._waiting[node, route.keyspace.id, route.epoch]
            self._send(node, waiting)

    def launch(self) -> None:
        """All reads have begun."""
        waiting, self._waiting = self._waiting, {}
        for (node, _, _), collections in waiting.items():
            self._send(node, collections)
