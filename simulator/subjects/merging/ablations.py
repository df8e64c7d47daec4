"""Safeguards that counters, sets and maps rely on (rule V10), and keyspaces of policy lww (rule V3)."""

from __future__ import annotations

from typing import Final

from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.mergeable import Add, PutElement, PutEntry, Remove
from ringmill.cluster.versions.objects import Sibling, StoredObject
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, method

__all__ = ["MERGING_ABLATIONS"]

_MERGING: Final = SimulationOptions(("merging",))
# A coordinator has to have missed what is removed, and neither a hint nor comparing brought it yet.
_MISSED: Final = SimulationOptions(("merging",), nodes=3, faults=("loss", "split_one", "slow_link"))
# One attempt has to be held up while the next one asks whether it is there.
_HELD_UP: Final = SimulationOptions(("merging",), faults=("loss", "crash", "pause", "slow_link"))
# The later of two entries has to have the older time, and its coordinator to have missed the other.
_CLOCKS: Final = SimulationOptions(("merging",), nodes=3, faults=("clock_jump", "split_one", "flapping"))


def _own_count() -> Patches:
    """An addition takes over what others have counted, into its own sibling."""

    def replaces_all(update: Add, sibling: Sibling, actor: Actor) -> bool:
        return True

    return (method(Add.replaces, replaces_all),)


def _counted_once() -> Patches:
    """An addition that may have been counted is sent again like any other write."""
    return (method(Add.is_repeatable, property(lambda update: True)),)


def _own_element() -> Patches:
    """A set is one value: who adds an element replaces those that it does not know of, too."""

    def replaces_all(update: PutElement, sibling: Sibling, actor: Actor) -> bool:
        return True

    return (method(PutElement.replaces, replaces_all),)


def _removal_observes() -> Patches:
    """A removal removes what its coordinator happens to know."""
    return (method(Remove.observes, property(lambda update: False)),)


def _entry_observes() -> Patches:
    """An entry replaces what its coordinator happens to know, and clocks decide about the rest."""
    return (method(PutEntry.observes, property(lambda update: False)),)


def _one_is_shown() -> Patches:
    """A reader is shown what is left of all writers."""

    def all_of_them(stored: StoredObject, wall_ms: int) -> tuple[Sibling, ...]:
        return stored.live(wall_ms)

    return (method(StoredObject.last, all_of_them),)


def _newest_decides() -> Patches:
    """A delete is passed over before anybody looks at times."""

    def newest_value(stored: StoredObject, wall_ms: int) -> tuple[Sibling, ...]:
        return stored.live(wall_ms)[:1]

    return (method(StoredObject.last, newest_value),)


MERGING_ABLATIONS: Final = (
    Ablation(
        "own-count",
        "an addition replaces what its own actor has counted, and nothing else",
        _own_count(),
        _MERGING,
        rules=("V10",),
    ),
    Ablation(
        "counted-once",
        "an addition that may have been counted is not sent again",
        _counted_once(),
        _HELD_UP,
        rules=("V10",),
    ),
    Ablation(
        "own-element",
        "an element replaces itself only",
        _own_element(),
        _MERGING,
        rules=("V10",),
    ),
    Ablation(
        "removal-observes",
        "a removal asks r owners first what there is to be removed",
        _removal_observes(),
        _MISSED,
        rules=("V10",),
    ),
    Ablation(
        "entry-observes",
        "an entry of a map replaces what r owners know of it",
        _entry_observes(),
        _CLOCKS,
        rules=("V10",),
    ),
    Ablation(
        "last-alone",
        "of concurrent writes a keyspace of policy lww shows one",
        _one_is_shown(),
        _MISSED,
        rules=("V3",),
    ),
    Ablation(
        "newest-decides",
        "the newest write decides, also when it is a delete",
        _newest_decides(),
        _MISSED,
        rules=("V3",),
    ),
)
