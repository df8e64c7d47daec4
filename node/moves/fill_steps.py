"""What a joiner has reached for the first time since its start: others see by it whether it moves or stands.

To do a thing again counts nothing: a joiner whose disk is full reads the same pages at each try.  The joiner
tells its count to any member that asks, and why it waits.

Rule M7: docs/protocol/moves.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.node.replica.packing import pack, unpack
from ringmill.node.replica.stored_key import Copy

__all__ = ["STEPS", "FillSteps", "ask_steps"]

STEPS: Final = "move.steps"
"""Peer method: nothing; answers [steps since the start of the node, why a copy waits or ""]."""
CALL_TIMEOUT_S: Final = 2.0
_LONGEST_WHY: Final = 200


class FillSteps:
    """`count` grows with each page, register and source that is reached for the first time."""

    def __init__(self) -> None:
        self.count = 0
        self._furthest: dict[tuple[Copy, Hashable], tuple[int, bool, bytes]] = {}

    def came_to(self, copy: Copy, what: Hashable, cursor: bytes) -> None:
        """A walk over the keys of the copy has come to `cursor`, b"" at its end."""
        self._note(copy, what, (0, not cursor, cursor))

    def walked(self, copy: Copy, what: Hashable) -> Callable[[bytes], None]:
        """As `came_to`, for one walk that may begin in the middle.

        Behind the end it goes on with what lies before its beginning: it comes by places that an earlier walk
        was at, in a lap of its own.
        """
        lap, is_at_end = self._furthest.get((copy, what), (0, False, b""))[0], False

        def came_to(cursor: bytes) -> None:
            nonlocal lap, is_at_end
            lap, is_at_end = lap + is_at_end, not cursor
            self._note(copy, what, (lap, is_at_end, cursor))

        return came_to

    def done(self) -> None:
        """Something was done that is never done again."""
        self.count += 1

    def keep_only(self, copies: set[Copy]) -> None:
        """Forget the others: their moves are over."""
        self._furthest = {key: each for key, each in self._furthest.items() if key[0] in copies}

    def handlers(self, held_back: Callable[[], Mapping[PartitionId, str]]) -> Mapping[str, Handler]:
        def answer(incoming: Incoming) -> bytes:
            return pack([self.count, next(iter(held_back().values()), "")[:_LONGEST_WHY]])

        return {STEPS: answer}

    def _note(self, copy: Copy, what: Hashable, reached: tuple[int, bool, bytes]) -> None:
        before = self._furthest.get((copy, what))
        if before is None or reached > before:
            self._furthest[copy, what] = reached
            self.count += 1


async def ask_steps(transport: Transport, node: NodeId) -> tuple[int, str]:
    """The steps of a joiner since its start, and why it waits.  Raises what the call raises."""
    body = await transport.call(node, STEPS, b"", timeout_s=CALL_TIMEOUT_S, priority=Priority.CONTROL)
    steps, why = unpack(body, (int, str))
    return steps, why[:_LONGEST_WHY]
