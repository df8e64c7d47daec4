"""What happened to a cluster: told by the difference of two looks at its status, and at what its nodes count.

Pure.  Nodes keep no history of each other; so what came and went between two looks is not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus, NodeStatus
from ringmill.client.gateway.page.repair_counts import RepairCounts

__all__ = ["Event", "Timeline"]

MOST_EVENTS: Final = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One change.  `at_s` is wall clock; `node` is "" for the cluster; `value` is the new state, if any."""

    at_s: float
    kind: str  # state, restart, hints, healing, filling, repair, health, coordinator, epoch, moves
    node: str
    value: str
    text: str


class Timeline:
    """The newest changes."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._before: dict[str, Event] = {}  # the last older `state` of each node
        self._seen: ClusterStatus | None = None
        self._states: dict[str, str] = {}  # of the nodes, when somebody looked last
        self._is_moving = False
        self._filling: set[str] = set()  # nodes that had unfilled partitions when they answered last
        self._repairs = RepairCounts()

    def events(self) -> list[Event]:
        """The newest changes, oldest first; before them the state that each node had then."""
        return [*self._before.values(), *self._events]

    def pause(self) -> None:
        """Nobody looks for a while.  At the next look only states are compared: they are told as they are
        then, and nobody knows when the rest has changed.
        """
        self._seen, self._is_moving = None, False
        self._repairs.forget()

    def observe(
        self,
        at_s: float,
        seen: ClusterStatus,
        moves: MovesView | None,
        metrics: Mapping[str, NodeMetrics] | None = None,
    ) -> list[Event]:
        """What has changed since the last look; at the first one, the state of each node.

        `metrics` are of the nodes that have told theirs.
        """
        found = [Event(at_s, *each) for each in self._changes(seen, moves)]
        found += [
            Event(at_s, "repair", node, "", text) for node, text in self._repairs.observe(at_s, metrics or {})
        ]
        self._seen, self._states = seen, {node.id: node.state for node in seen.nodes}
        self._is_moving = moves is not None and not moves.is_over
        self._events.extend(found)
        while len(self._events) > MOST_EVENTS:
            self._let_go(self._events.popleft())
        return found

    def _let_go(self, event: Event) -> None:
        if event.kind == "state":
            self._before.pop(event.node, None)
            if event.value != "gone":
                self._before[event.node] = event

    def _changes(self, seen: ClusterStatus, moves: MovesView | None) -> Iterator[tuple[str, str, str, str]]:
        before = self._seen
        known = {} if before is None else {node.id: node for node in before.nodes}
        for node in seen.nodes:
            if self._states.get(node.id) != node.state:
                yield "state", node.id, node.state, f"{node.id} is {node.state}"
            yield from _of_node(known.get(node.id), node)
            yield from self._fillings(node, is_first=before is None)
        for gone in sorted(self._states.keys() - {node.id for node in seen.nodes}):
            yield "state", gone, "gone", f"{gone} is not a member any more"
        if before is None:
            return
        if before.health != seen.health:
            why = f": {seen.reasons[0]}" if seen.reasons else ""
            yield (
                "health",
                "",
                seen.health,
                f"the cluster is {'healthy' if seen.health == 'ok' else seen.health}{why}",
            )
        if before.coordinator != seen.coordinator:
            yield "coordinator", seen.coordinator, "", f"{seen.coordinator or 'nobody'} coordinates jobs"
        if before.epoch != seen.epoch:
            yield "epoch", "", str(seen.epoch), f"topology epoch {seen.epoch}"
        is_moving = moves is not None and not moves.is_over
        if is_moving and moves is not None and not self._is_moving:
            yield "moves", "", "begun", f"{moves.left} copies of partitions move"
        if self._is_moving and not is_moving:
            yield "moves", "", "ended", "nothing moves any more"

    def _fillings(self, node: NodeStatus, *, is_first: bool) -> Iterator[tuple[str, str, str, str]]:
        """Partitions that a node lacks and gets from others.  One that does not answer has not ended."""
        if node.unfilled is None:
            return
        if node.unfilled and node.id not in self._filling:
            self._filling.add(node.id)
            if not is_first:
                what = f"{node.unfilled} partition{'' if node.unfilled == 1 else 's'}"
                yield "filling", node.id, "begun", f"{node.id} fills {what} from other owners"
        if not node.unfilled and node.id in self._filling:
            self._filling.remove(node.id)
            if not is_first:
                yield "filling", node.id, "ended", f"{node.id} has filled all its partitions"


def _of_node(before: NodeStatus | None, now: NodeStatus) -> Iterator[tuple[str, str, str, str]]:
    if before is None:
        return
    if _was_restarted(before, now):
        yield "restart", now.id, "", f"{now.id} was started again"
    if not before.awaited_hints and now.awaited_hints:
        yield "hints", now.id, "wait", f"writes wait for {now.id} as hints"
    if before.awaited_hints and not now.awaited_hints:
        yield "hints", now.id, "delivered", f"{now.id} has all its hints"
    if not before.healing and now.healing:
        yield "healing", now.id, "begun", f"{now.id} heals {now.healing}"
    if before.healing and not now.healing and now.pid is not None:  # it answers
        yield "healing", now.id, "ended", f"{now.id} has healed what was damaged"


def _was_restarted(before: NodeStatus, now: NodeStatus) -> bool:
    """Whether another process answers.  In a container it has the same process id as the one before."""
    if before.pid and now.pid and before.pid != now.pid:
        return True
    return before.uptime_s is not None and now.uptime_s is not None and now.uptime_s < before.uptime_s
