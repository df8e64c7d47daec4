"""Safeguards that sloppy quorums rely on (rules W7 and H11)."""

from __future__ import annotations

from typing import Any, Final

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.quorum.tally import SloppyTally
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.hint_delivery import HintDelivery
from ringmill.node.replica.hints import HintStore
from ringmill.node.requests import write_in_flight
from ringmill.node.requests.fallbacks.fallbacks import Fallbacks, Search
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["SLOPPY_ABLATIONS"]

# An owner has to be away while its fallback loses power, and the fallback to be back before it.
_POWER: Final = SimulationOptions(("sloppy",), faults=("crash_all", "split_one", "disk_slow"))
_AWAY: Final = SimulationOptions(("sloppy",), faults=("split_one", "pause", "crash"))
_SPLIT: Final = SimulationOptions(("sloppy",), faults=("split_halves", "crash", "split_ring"))
_SILENT: Final = SimulationOptions(("sloppy",), faults=("slow_link", "pause", "stuck_link", "loss"))


class _Unsynced:
    async def synced(self) -> None:
        """Nobody waits for the disk."""


def _fallback_synced() -> Patches:
    """A fallback answers when the hint is in its memory."""
    keep_counted = HintStore.keep_counted

    async def keep_unsynced(hints: HintStore, *rest: Any) -> Any:
        await keep_counted(hints, *rest)
        return _Unsynced()

    return (method(HintStore.keep_counted, keep_unsynced),)


def _one_seat() -> Patches:
    """An owner that acks late has another seat than its fallback."""

    def seats(tally: SloppyTally) -> int:
        return len(tally.acks) + len(tally.stand_ins)

    return (method(SloppyTally._seats, seats),)


def _counted_kept() -> Patches:
    """The bound takes hints that have counted, too, wherever they wait."""
    owe = AntiEntropy.owe

    def owe_and_drop(anti_entropy: AntiEntropy, partition: PartitionId, node: NodeId) -> bool:
        owe(anti_entropy, partition, node)
        return True

    def is_dropped(hints: HintStore, target: Any, key: Any, size: int, is_counted: bool) -> bool:
        return not hints._is_within_bounds(target, key, size)

    return (method(HintStore._is_dropped, is_dropped), method(AntiEntropy.owe, owe_and_drop))


def _one_owner_each() -> Patches:
    """One member may stand in for several owners of a write."""

    async def ask_anybody(fallbacks: Fallbacks, search: Search, *rest: Any) -> Any:
        search.asked.clear()
        return await search_on(fallbacks, search, *rest)

    search_on = Fallbacks._search
    return (method(Fallbacks._search, ask_anybody),)


def _counted_delivered() -> Patches:
    """A fallback forgets a hint when it sends it."""
    load = HintDelivery._load

    async def load_and_forget(delivery: HintDelivery, target: NodeId, keys: Any) -> Any:
        items = await load(delivery, target, keys)
        for key, item in items:
            await delivery._hints.strike_off(key, target, item.encoded)
        return items

    return (method(HintDelivery._load, load_and_forget),)


def _weak_told() -> Patches:
    """A receipt that fallbacks helped to is as good as any."""

    def strong(*fields: Any, **rest: Any) -> QuorumReceipt:
        return QuorumReceipt(*fields, **rest)._replace(is_weak=False)

    return (function(write_in_flight, QuorumReceipt, strong),)


SLOPPY_ABLATIONS: Final = (
    Ablation(
        "weak-told",
        "a receipt is weak while fewer owners than W have acked",
        _weak_told(),
        _AWAY,
        rules=("W7",),
    ),
    Ablation(
        "fallback-synced",
        "a fallback counts once the hint is on its disk",
        _fallback_synced(),
        _POWER,
        rules=("W7",),
    ),
    Ablation(
        "one-seat",
        "an owner and its fallback have one seat",
        _one_seat(),
        _SILENT,
        rules=("W7",),
    ),
    Ablation(
        "counted-kept",
        "a hint that counted is refused over the bound, and never dropped",
        _counted_kept(),
        _AWAY,
        rules=("H11",),
    ),
    Ablation(
        "one-owner-each",
        "a fallback stands in for one owner of a write",
        _one_owner_each(),
        _SPLIT,
        rules=("W7",),
    ),
    Ablation(
        "counted-delivered",
        "a hint that counted goes when its owner has it on the disk",
        _counted_delivered(),
        _AWAY,
        rules=("H11",),
    ),
)
