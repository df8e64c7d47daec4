"""What some objects of one copy add to the figures of a node, to be taken out when they go together."""

from __future__ import annotations

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.versions.object_codec import outline
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES

__all__ = ["HeldFigures"]


class HeldFigures:
    """`add` each of them, as it is stored."""

    def __init__(self) -> None:
        self.some_key = b""
        self.objects = 0
        self.values = 0  # objects with a value
        self.size_bytes = 0  # of keys, without the copy's prefix, and objects
        self.are_exact = True  # each could be decoded
        self.sums = CopySums()

    def add(self, stored_key: bytes, encoded: bytes) -> None:
        self.some_key = stored_key
        self.objects += 1
        self.size_bytes += len(stored_key) - COPY_PREFIX_BYTES + len(encoded)
        try:
            has_value, _, _ = outline(encoded)
        except RingmillError:
            self.are_exact = False
            return
        self.values += has_value
        self.sums.change(stored_key, None, encoded)

    @property
    def tombstones(self) -> int:
        """Objects without a value."""
        return self.objects - self.values
