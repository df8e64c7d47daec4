"""Switches off, one at a time, the safeguards by which a wrong data folder is noticed (see ablations.py)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

import ringmill.node.identity.identity
import ringmill.node.membership.starts
from ringmill.cluster.membership.starts import Announcement, FoundLogs, Remembered, Verdict, judge
from ringmill.cluster.ports import FileSystem
from ringmill.node.identity.identity_record import IdentityRecord
from ringmill.node.identity.store_name import missing_from_store
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.replica.control import ControlStore
from ringmill.simulator.bending import Ablation, bent
from ringmill.simulator.options import RunOptions

__all__ = ["IDENTITY_ABLATIONS"]


def _starts_remembered() -> AbstractContextManager[None]:
    return bent((ringmill.node.membership.starts, "judge", lambda known, told: Verdict.NOTED))


def _starts_synced() -> AbstractContextManager[None]:
    """What was announced is kept in memory only."""
    put_synced = ControlStore.put_synced

    async def put(store: ControlStore, name: str, value: bytes) -> None:
        if name == "starts":
            store._values[name] = value
        else:
            await put_synced(store, name, value)

    return bent((ControlStore, "put_synced", put))


def _boot_compared() -> AbstractContextManager[None]:
    """A start with the same number is the same start."""

    def judge_numbers(known: Remembered | None, told: Announcement) -> Verdict:
        is_later = known is None or known.start.number <= told.start.number
        return Verdict.NOTED if is_later else Verdict.OLD_COPY

    return bent((ringmill.node.membership.starts, "judge", judge_numbers))


def _judge_starts(known: Remembered | None, told: Announcement) -> Verdict:
    """What a folder's logs held when it was opened does not matter."""
    return judge(known, replace(told, found=FoundLogs(highest=1 << 60)))


def _log_compared() -> AbstractContextManager[None]:
    return bent((ringmill.node.membership.starts, "judge", _judge_starts))


def _unconfirmed_waits() -> AbstractContextManager[None]:
    make = TopologyAgent.__init__

    def make_confirmed(agent: TopologyAgent, *arguments: Any, **named: Any) -> None:
        make(agent, *arguments, **{**named, "awaits_confirmation": False})

    return bent((TopologyAgent, "__init__", make_confirmed))


def _store_named() -> AbstractContextManager[None]:
    """No store is asked whether it is the one that was left."""
    return bent((ringmill.node.identity.identity, "missing_from_store", lambda files, store, record: ""))


def _left_compared() -> AbstractContextManager[None]:
    """The same, but for the store's name and the number of its manifest."""
    missing = missing_from_store

    def missing_by_name(files: FileSystem, store: str, record: IdentityRecord) -> str:
        return missing(files, store, replace(record, left=()))

    return bent((ringmill.node.identity.identity, "missing_from_store", missing_by_name))


_LOST: Final = RunOptions(nodes=1, n=1, w=1, r=1, faults=("store_lost",))
_RESTORED: Final = RunOptions(nodes=3, keys=2, faults=("folder_restored",))
IDENTITY_ABLATIONS: Final = (
    Ablation("store-named", "a store that is not the one its node left is a lost one", _store_named, _LOST),
    Ablation("left-compared", "a store has to hold what a clean stop left in it", _left_compared, _LOST),
    Ablation(
        "starts-remembered",
        "members refuse a folder that lacks a start they know",
        _starts_remembered,
        _RESTORED,
    ),
    Ablation(
        "starts-synced",
        "a start is on a member's disk before the member confirms it",
        _starts_synced,
        _RESTORED,
    ),
    Ablation(
        "boot-compared", "a start is known by its boot id, not by its number", _boot_compared, _RESTORED
    ),
    Ablation(
        "log-compared", "a folder that lacks the end of a known log is an old copy", _log_compared, _RESTORED
    ),
    Ablation(
        "unconfirmed-waits", "a start serves nothing before it is confirmed", _unconfirmed_waits, _RESTORED
    ),
)
