"""A core of the nodes is healed while the rest stays broken: which nodes, and how the rest is broken.

The core has owners enough of every key for the default levels, and members enough to confirm each other's
starts and compare their clocks.  So nothing that it is asked for may depend on the rest.  The idea is that of
TigerBeetle's simulator, which calls it the liveness mode.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Final

from ringmill.cluster.membership.start_rules import others_needed
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.world.ground import Ground

__all__ = ["AS_IT_IS", "DOUBTFUL", "SEEN_DOWN", "break_rest", "draw_rest"]

AS_IT_IS: Final = "damaged"
"""What a fault has done to a node permanently, and nothing else: it runs, as far as it can."""
DOUBTFUL: Final = frozenset(("lossy", "slow disk"))
"""Ways in which a node answers a question and then not the write that follows, whose outcome is unknown."""
SEEN_DOWN: Final = frozenset(("dead", "stopped", "cut off", "silent", "deaf"))
"""Ways of which the other nodes notice before long that the node is not there."""
_FAR_S: Final = 1.5
_LOSS: Final = 0.4
_SLOW_DISK_S: Final = 5.0
_ERROR_CHANCE: Final = 0.3

Break = Callable[[Ground, str], None]


def draw_rest(
    draws: Random,
    nodes: Sequence[str],
    damaged: Collection[str],
    owners: Sequence[Collection[str]],
    level: int,
) -> list[str]:
    """Nodes to be left broken: those that a fault has damaged or lost, and as many others as are drawn.

    `owners` are those of each key, of whom `level` have to be in the core.  Empty when no core is left.
    """

    def leaves_a_core(rest: Collection[str]) -> bool:
        core = [node for node in nodes if node not in rest]
        has_quorums = all(len(set(each) - set(rest)) >= min(level, len(each)) for each in owners)
        return has_quorums and len(core) - 1 >= others_needed(len(nodes))

    order = draws.sample(nodes, len(nodes))
    most = max(len(damaged), draws.choice((1, 2, 2, len(nodes))))
    rest = [node for node in order if node in damaged]
    if not leaves_a_core(rest):
        return []
    for node in order:
        if len(rest) < most and node not in rest and leaves_a_core([*rest, node]):
            rest.append(node)
    return sorted(rest)


def break_rest(
    draws: Random, ground: Ground, rest: Sequence[str], damaged: Collection[str]
) -> dict[str, str]:
    """Break each of these nodes in a way of its own; which it was, by name."""
    broken: dict[str, str] = {}
    for node in rest:
        ways = [*_BREAKS, *((AS_IT_IS,) if node in damaged else ())]
        if len(rest) > 1:
            ways.remove("failing disk")  # what is synced may be lost on one node only
        way = draws.choice(ways)
        if way == "stopped" and draws.random() < _SHARE_WITH_WRITE:
            way = _WITH_WRITE
        broken[node] = way
        ground.trace.fault(f"left_{way.replace(' ', '_')}", node)
        if way == _WITH_WRITE:
            _stop_with_write(ground, node)
        elif way in _BREAKS:
            _BREAKS[way](ground, node)
    return broken


def _die(ground: Ground, node: str) -> None:
    ground.nodes[node].kill(CrashModel.PREFIX)


def _stop(ground: Ground, node: str) -> None:
    ground.nodes[node].pause()


def _stop_with_write(ground: Ground, node: str) -> None:
    """It answers, and stands still as soon as a write is on its way to it."""

    def stop(method: str, timeout_s: float) -> bool:
        ground.trace.fault("stopped_with_write", node)
        ground.nodes[node].pause()
        return True

    ground.network.traps[node] = stop


def _vanish(ground: Ground, node: str) -> None:
    _fall_silent(ground, node)
    _go_deaf(ground, node)


def _fall_silent(ground: Ground, node: str) -> None:
    """It hears everything and is heard by nobody."""
    for other in ground.ends_beside(node):
        ground.network.link(node, other).is_cut = True


def _go_deaf(ground: Ground, node: str) -> None:
    """It is heard and hears nobody."""
    for other in ground.ends_beside(node):
        ground.network.link(other, node).is_cut = True


def _move_away(ground: Ground, node: str) -> None:
    for other in ground.ends_beside(node):
        for link in (ground.network.link(node, other), ground.network.link(other, node)):
            link.latency_s = _FAR_S


def _lose_much(ground: Ground, node: str) -> None:
    for other in ground.ends_beside(node):
        for link in (ground.network.link(node, other), ground.network.link(other, node)):
            link.loss = _LOSS


def _fill_up(ground: Ground, node: str) -> None:
    ground.nodes[node].disk.fill_up()


def _slow_down(ground: Ground, node: str) -> None:
    ground.nodes[node].disk.slower_s = _SLOW_DISK_S


def _fail(ground: Ground, node: str) -> None:
    ground.nodes[node].disk.error_chance = _ERROR_CHANCE


_WITH_WRITE: Final = "stopped with a write"
_SHARE_WITH_WRITE: Final = 0.5  # of the nodes that are stopped
_BREAKS: Final[Mapping[str, Break]] = {
    "dead": _die,
    "stopped": _stop,
    "cut off": _vanish,
    "silent": _fall_silent,
    "deaf": _go_deaf,
    "far": _move_away,
    "lossy": _lose_much,
    "full disk": _fill_up,
    "slow disk": _slow_down,
    "failing disk": _fail,
}
