"""How much one page of a scan may hold, in keys and in bytes (rule L5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_SCAN_BYTES, MAX_SCAN_ITEMS
from ringmill.cluster.wire.frames import OPERATION_OVERHEAD_BYTES
from ringmill.node.requests.scans.scan_values import ScannedKey

__all__ = ["PageFilling", "checked_limit"]


@dataclass(slots=True)
class PageFilling:
    limit: int
    keys_only: bool
    items: list[ScannedKey] = field(default_factory=list)
    size_bytes: int = 0
    is_full: bool = False  # an item did not fit

    @property
    def has_room(self) -> bool:
        return not self.is_full and len(self.items) < self.limit and self.size_bytes < MAX_SCAN_BYTES

    def take(self, item: ScannedKey) -> bool:
        """False when it does not fit and is for the next page; one item always fits."""
        if self.keys_only:
            item = item._replace(siblings=tuple(each._replace(value=b"") for each in item.siblings))
        size_bytes = self.size_bytes + _size(item)
        if self.items and (len(self.items) >= self.limit or size_bytes > MAX_SCAN_BYTES):
            self.is_full = True
            return False
        self.items.append(item)
        self.size_bytes = size_bytes
        return True


def checked_limit(limit: int) -> int:
    """Most items of a page; 0 is the most there may be.  Raises InvalidArgument."""
    if limit > MAX_SCAN_ITEMS:
        raise InvalidArgument(
            f"a page of {limit} keys; the limit is {MAX_SCAN_ITEMS}", hint="ask for page after page"
        )
    return limit or MAX_SCAN_ITEMS


def _size(item: ScannedKey) -> int:
    values = sum(len(each.value or b"") + OPERATION_OVERHEAD_BYTES for each in item.siblings)
    return len(item.key) + len(item.context) + values
