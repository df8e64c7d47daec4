"""Safeguards that sessions rely on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import ringmill.client.session_memory
import ringmill.node.requests.read
import ringmill.node.requests.write
from ringmill.client.session_memory import SessionMemory
from ringmill.cluster.versions.seen import Forgotten, Needed
from ringmill.node.requests.owners.read_in_flight import ReadInFlight
from ringmill.node.requests.owners.session_needs import level_for, need_of
from ringmill.simulator.options import usual_options
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["SESSION_ABLATIONS"]

_CUT: Final = replace(
    usual_options(("sessions",)),
    faults=("split_one", "split_halves", "one_way", "flapping", "loss", "slow_link", "stuck_link"),
)


def _asked_on() -> Patches:
    return (method(ReadInFlight._covers_session, lambda read: True),)


def _session_replaced() -> Patches:
    return (function(ringmill.node.requests.write, need_of, lambda seen, route, seal: None),)


def _writes_kept() -> Patches:
    def forget(memory: SessionMemory, *rest: Any) -> None:
        return None

    return (method(SessionMemory.note_write, forget),)


def _reads_kept() -> Patches:
    def forget(memory: SessionMemory, *rest: Any) -> None:
        return None

    return (method(SessionMemory.note_read, forget),)


def _forgotten_told() -> Patches:
    return (function(ringmill.node.requests.read, level_for, lambda needed, r, route: r),)


def _weak_told_apart() -> Patches:
    def all_strict(needed: Needed | None, r: int, route: Any) -> int:
        if needed is not None and needed.forgotten is Forgotten.WEAK:
            needed = needed._replace(forgotten=Forgotten.STRICT)
        return level_for(needed, r, route)

    return (function(ringmill.node.requests.read, level_for, all_strict),)


SESSION_ABLATIONS: Final = (
    Ablation(
        "session-asked-on",
        "a read asks further owners until it covers what its session has seen",
        _asked_on(),
        _CUT,
        rules=("S1",),
    ),
    Ablation(
        "session-reads-kept",
        "a session remembers what its reads have shown",
        _reads_kept(),
        _CUT,
        rules=("S1",),
    ),
    Ablation(
        "session-writes-kept",
        "a session remembers what it has written",
        _writes_kept(),
        _CUT,
        rules=("S1",),
    ),
    Ablation(
        "session-replaced",
        "a write replaces what its session has seen",
        _session_replaced(),
        _CUT,
        rules=("S2",),
    ),
    Ablation(
        "session-forgotten-told",
        "a session that has forgotten keys says so",
        _forgotten_told(),
        _CUT,
        rules=("S3",),
    ),
    Ablation(
        "session-weak-told",
        "forgotten keys that were seen at lower levels are read from all owners",
        _weak_told_apart(),
        _CUT,
        rules=("S3",),
    ),
)
