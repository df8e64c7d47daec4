"""What comparing and reads have repaired, from the figures that nodes count.

Pure.  A repair of many keys takes many looks: it is told once at the look in which nothing more was moved, or
every 30 s while it goes on, so that a timeline of some hundred events holds more than one repair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.top_view import grown

__all__ = ["RepairCounts"]

TOLD_EVERY_S: Final = 30.0
_TEXTS: Final = {
    "repaired_objects_total": "{node}: comparing moved {count} object{s}",
    "read_repairs_total": "{node}: reads mended {count} old cop{ies}",
}
"""By the metric that counts it."""


@dataclass(slots=True)
class _Burst:
    """What was moved since `since_s`, and is not told yet."""

    since_s: float
    count: int = 0


class RepairCounts:
    """Counts by node and kind, as they were at the last look that the node has answered."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], int] = {}
        self._bursts: dict[tuple[str, str], _Burst] = {}

    def forget(self) -> None:
        """Nobody looks for a while: what is counted meanwhile is of no look."""
        self._counted.clear()
        self._bursts.clear()

    def observe(self, at_s: float, metrics: Mapping[str, NodeMetrics]) -> Iterator[tuple[str, str]]:
        """The node and a sentence for each repair that is to be told now.  `at_s` is seconds of any clock."""
        for node, now in sorted(metrics.items()):
            for metric, text in _TEXTS.items():
                place, total = (node, metric), int(now.total(metric))
                before = self._counted.get(place)
                self._counted[place] = total
                if before is None:
                    continue
                moved = int(grown(before, total))
                if moved:
                    self._bursts.setdefault(place, _Burst(at_s)).count += moved
                burst = self._bursts.get(place)
                if burst is not None and (not moved or at_s - burst.since_s >= TOLD_EVERY_S):
                    del self._bursts[place]
                    yield node, _told(text, node, burst.count)


def _told(text: str, node: str, count: int) -> str:
    s, ies = ("", "y") if count == 1 else ("s", "ies")
    return text.format(node=node, count=f"{count:,}", s=s, ies=ies)
