"""The nodes as one job sees them: which are up, in which start, and which make its tasks fail.

Pure.  A node on which three tasks failed by CorruptData, DiskFull or EngineError, or whose outputs of three
maps could not be read, gets no more tasks of the job, but this excludes at most a third of the nodes, and
none once no other could have had a task for five minutes: others that are restarted come back sooner.  Nodes
without slots run nothing, so no task waits for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.task_state import Blame, Task, blame_for

__all__ = ["Workers", "is_of_the_node", "suits"]

SPOILED_TASKS: Final = 3
LARGEST_SHARE: Final = 3  # one in three


def is_of_the_node(cause: Cause) -> bool:
    """Whether a failure is the fault of the node on which it came, and of no other node's files."""
    is_of_another = cause in (Cause.FETCH_FAILED, Cause.LOST_NODE)
    return blame_for(cause) is Blame.INFRASTRUCTURE and not is_of_another


def suits(task: Task, node: NodeId, usable: Collection[NodeId], now: float) -> bool:
    """Whether a node may run the task.  One where it failed gets it again only if there is no other; one that
    has just lost it, as by a restart, also if the others have left it waiting for ten seconds."""
    if not task.has_failed_on(node) or (now >= task.open_to_all_at and task.was_only_lost_on(node)):
        return True
    return all(task.has_failed_on(other) for other in usable if other != node)


def _with_slots(node: NodeId) -> bool:
    return True


@dataclass(slots=True)
class Workers:
    """Nodes by id, in the order in which they were seen.  `has_slots` says which offer any, `had_slots` which
    did lately, up or not.  They are in no journal, as they decide only where attempts begin."""

    _starts: dict[NodeId, str] = field(default_factory=dict)
    _up: dict[NodeId, bool] = field(default_factory=dict)
    _spoiled: dict[NodeId, set[str]] = field(default_factory=dict)
    has_slots: Callable[[NodeId], bool] = field(default=_with_slots, compare=False)
    had_slots: Callable[[NodeId], bool] | None = field(default=None, compare=False)  # as `has_slots` if None

    def up(self, node: NodeId, start: str) -> None:
        self._starts[node] = start
        self._up[node] = True

    def seen_up(self) -> list[NodeId]:
        return [node for node, is_up in self._up.items() if is_up]

    def down(self, node: NodeId) -> None:
        self._up[node] = False

    def has_restarted(self, node: NodeId, start: str) -> bool:
        """Whether this is another start of the node than the known one."""
        return self._starts.get(node, start) != start

    def is_here(self, node: NodeId, start: str) -> bool:
        """Whether the node is up in that same start, so that its files can be read."""
        return self._up.get(node, False) and self._starts[node] == start

    def start_of(self, node: NodeId) -> str:
        return self._starts[node]

    def blame(self, node: NodeId, task: str) -> None:
        """Note that a task failed by this node."""
        self._spoiled.setdefault(node, set()).add(task)

    def left_out(self) -> list[NodeId]:
        """The nodes that get no more tasks of the job while there are others."""
        spoilers = [node for node, tasks in self._spoiled.items() if len(tasks) >= SPOILED_TASKS]
        return spoilers[: len(self._starts) // LARGEST_SHARE]

    def usable(self) -> list[NodeId]:
        """Nodes that can have a task: up, with slots, and not left out if others have, or lately had, any."""
        able = [node for node, is_up in self._up.items() if is_up and self.has_slots(node)]
        avoided = self.left_out()
        well = [node for node in able if node not in avoided]
        if well or not able:
            return well
        had_slots = self.had_slots or self.has_slots
        return [] if any(had_slots(node) for node in self._starts if node not in avoided) else able

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [[[node, start, is up], ...], [[node, its spoiled tasks], ...]]."""
        met = [[node, start, self._up.get(node, False)] for node, start in self._starts.items()]
        return [met, [[node, sorted(tasks)] for node, tasks in self._spoiled.items()]]

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> Workers:
        met, spoiled = fields
        return cls(
            {node: start for node, start, _ in met},
            {node: is_up for node, _, is_up in met},
            {node: set(tasks) for node, tasks in spoiled},
        )
