"""Safeguards of hints: kept, merged, compared and struck off."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ringmill.cluster.errors import DiskFull
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.replica.hinted.hint_codec import decode_hint
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.serving import ReplicaServing
from ringmill.node.requests.write_dispatcher import WriteDispatcher
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, method
from ringmill.simulator.subjects.objects.ablations.healing import without_comparing, without_rounds

__all__ = ["HINTS"]


def _hints_kept() -> Patches:
    async def keep_none(dispatcher: WriteDispatcher, write: Any, target: Any) -> str:
        return ""

    return (method(WriteDispatcher._keep_hint, keep_none), *without_comparing())


def _refused_hints_kept() -> Patches:
    """What a full disk refuses to keep is forgotten."""

    async def keep_none(hints: HintStore) -> None:
        hints._refused.clear()

    return (method(HintStore.keep_refused, keep_none), *without_comparing())


def _hint_compare() -> Patches:
    strike_off = HintStore.strike_off

    async def strike_off_whatever(hints: HintStore, key: Any, target: Any, delivered: bytes) -> bool:
        present = await hints.get(key)
        return await strike_off(hints, key, target, delivered if present is None else present.encoded)

    return (method(HintStore.strike_off, strike_off_whatever), *without_comparing())


def _hint_merge() -> Patches:
    keep = HintStore._keep

    def keep_the_first(
        hints: HintStore, key: Any, targets: Any, stored: Any, value: bytes | None, **how: Any
    ) -> Any:
        present = None if value is None else decode_hint(value)
        first = decode_object(present.encoded) if present else stored
        return keep(hints, key, targets, first, value, **how)

    return (method(HintStore._keep, keep_the_first), *without_comparing())


def _hint_synced() -> Patches:
    """Nor are owners compared after the crash, which would find what was forgotten."""
    take = ReplicaServing._take

    async def take_unsynced(serving: ReplicaServing, *rest: Any) -> str | None:
        outcome = await take(serving, *rest)
        return outcome if isinstance(outcome, str) else None

    return (method(ReplicaServing._take, take_unsynced), *without_comparing())


def _no_room_for_hints() -> Patches:
    """Disks have no room for hints while faults strike, and owners compare only what is owed."""
    change = HintStore._change

    async def refuse(hints: HintStore, key: Any, targets: Any, stored: Any) -> Any:
        if asyncio.get_running_loop().time() < _ROOM_AGAIN_S:
            raise DiskFull("no room for a hint")
        return await change(hints, key, targets, stored)

    return (method(HintStore._change, refuse), *without_rounds())


def _lost_is_told() -> Patches:
    """A stop counts as clean though a hint is in memory only."""
    return (method(HintStore.is_whole, property(lambda hints: True)), *_no_room_for_hints())


_ROOM_AGAIN_S: Final = 12.0
_STOPPED: Final = SimulationOptions(
    nodes=3, keys=24, faults=("stop_beside_silence", "restart", "split_one", "loss"), core=0.0
)
_FULL: Final = SimulationOptions(nodes=3, faults=("disk_full", "split_one"))
_CRASHES_OF_MANY_KEYS: Final = SimulationOptions(nodes=3, keys=24, faults=("crash",))
_LATE: Final = SimulationOptions(nodes=3, keys=24, operations=200, sessions=24, faults=("loss", "slow_link"))

HINTS: Final = (
    Ablation("hints-kept", "an owner that did not ack gets a hint", _hints_kept(), rules=("H1", "W1")),
    Ablation(
        "refused-hints-kept",
        "a hint that a full disk refused is kept later",
        _refused_hints_kept(),
        _FULL,
        rules=("H7",),
    ),
    Ablation(
        "hint-compare",
        "a hint is struck off only if it still holds what was delivered",
        _hint_compare(),
        _LATE,
        rules=("H1",),
    ),
    Ablation(
        "lost-hint-is-no-clean-stop",
        "a stop that leaves a hint behind is not a clean one",
        _lost_is_told(),
        _STOPPED,
        rules=("W6",),
    ),
    Ablation("hint-merge", "a newer write is merged into the hint of its key", _hint_merge(), rules=("H1",)),
    Ablation(
        "hint-synced",
        "a hint goes only when its target has it on the disk",
        _hint_synced(),
        _CRASHES_OF_MANY_KEYS,
        rules=("H1",),
    ),
)
