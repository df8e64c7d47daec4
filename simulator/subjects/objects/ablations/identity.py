"""Safeguards by which a wrong data folder or disk is noticed, and two starts are told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import ringmill.node.identity.identity
import ringmill.node.membership.starts
import ringmill.node.replica.object_store
import ringmill.node.replica.serving
import ringmill.node.requests.owner_calls
import ringmill.node.requests.write
import ringmill.node.storage.engine
import ringmill.node.storage.recovery.opening
from ringmill.cluster.ids import Start
from ringmill.cluster.membership.start_rules import Announcement, FoundLogs, Remembered, StartVerdict, judge
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.dots import Dot, actor_of
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.identity.identity_record import IdentityRecord
from ringmill.node.identity.store_name import missing_from_store
from ringmill.node.membership.starts import Starts
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.stored_key import copy_prefix, prefix_end
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["IDENTITY"]


def _judge_starts(known: Remembered | None, announced: Announcement) -> StartVerdict:
    """What a folder's logs held when it was opened does not matter."""
    return judge(known, replace(announced, found=FoundLogs(highest=1 << 60)))


def _disk_id() -> Patches:
    """A node takes a document that names it with another disk, and serves by it."""

    async def take_anyhow(agent: TopologyAgent, document: bytes) -> Topology:
        topology = Topology.decode(document)
        agent._seat = agent._forming._seat = topology.member(agent._seat.node).seat
        agent._take(topology)
        return topology

    return (method(TopologyAgent.take_first, take_anyhow),)


def _fresh_actor() -> Patches:
    """Every start goes on with one actor, counting from what the stored objects say."""
    write, next_dot = ObjectStore.write, CopyActors.next_dot

    async def write_as_before(store: ObjectStore, place: Any, *rest: Any) -> Any:
        actors = store._actors
        if place.copy not in actors._counts:
            actor = actor_of(actors._node, _ONE_START)
            prefix = copy_prefix(place.copy)
            scan: AsyncIterator[tuple[bytes, bytes]] = store._engine.scan(prefix, prefix_end(prefix))
            counts = [decode_object(encoded).context.counter(actor) async for _, encoded in scan]
            actors._counts.setdefault(place.copy, max(counts, default=0))
        return await write(store, place, *rest)

    def continued(actors: CopyActors, copy: Any) -> Dot:
        return Dot(actor_of(actors._node, _ONE_START), next_dot(actors, copy).counter)

    return (
        method(ObjectStore.write, write_as_before),
        method(ObjectStore.takes_batches, property(lambda store: False)),
        method(CopyActors.next_dot, continued),
    )


def _store_named() -> Patches:
    """No store is asked whether it is the one that was left."""
    return (function(ringmill.node.identity.identity, missing_from_store, lambda files, store, record: ""),)


def _left_compared() -> Patches:
    """Only the store's name and the number of its manifest are compared."""
    missing = missing_from_store

    def missing_by_name(files: FileSystem, store: str, record: IdentityRecord) -> str:
        return missing(files, store, replace(record, left=()))

    return (function(ringmill.node.identity.identity, missing_from_store, missing_by_name),)


def _starts_remembered() -> Patches:
    return (function(ringmill.node.membership.starts, judge, lambda known, announced: StartVerdict.NOTED),)


def _starts_synced() -> Patches:
    """What was announced is kept in memory only."""
    put_synced = ControlStore.put_synced

    async def put(store: ControlStore, name: str, value: bytes) -> None:
        if name == "starts":
            store._values[name] = value
        else:
            await put_synced(store, name, value)

    return (method(ControlStore.put_synced, put),)


def _boot_compared() -> Patches:
    """A start with the same number is the same start."""

    def judge_numbers(known: Remembered | None, announced: Announcement) -> StartVerdict:
        is_later = known is None or known.start.number <= announced.start.number
        return StartVerdict.NOTED if is_later else StartVerdict.OLD_COPY

    return (function(ringmill.node.membership.starts, judge, judge_numbers),)


def _log_compared() -> Patches:
    return (function(ringmill.node.membership.starts, judge, _judge_starts),)


def _memory_compared() -> Patches:
    """A start that is remembered may tell of any log."""

    def judge_others(known: Remembered | None, announced: Announcement) -> StartVerdict:
        is_same = known is not None and known.start == announced.start
        return StartVerdict.NOTED if is_same else judge(known, announced)

    return (function(ringmill.node.membership.starts, judge, judge_others),)


def _unconfirmed_waits() -> Patches:
    make = TopologyAgent.__init__

    def make_confirmed(agent: TopologyAgent, *arguments: Any, **named: Any) -> None:
        make(agent, *arguments, **{**named, "awaits_confirmation": False})

    return (method(TopologyAgent.__init__, make_confirmed),)


def _few_refusals_end_nothing() -> Patches:
    """A node that serves ends as soon as one member takes its start for an old one."""
    return (method(Starts._is_superseded, lambda starts: True),)


_ONE_START: Final = Start(1, "")
_CRASHES_OF_THREE: Final = SimulationOptions(nodes=3, keys=2, faults=("crash", "crash_all"))
_LOST: Final = SimulationOptions(nodes=1, n=1, w=1, r=1, faults=("store_lost",))
_OTHER: Final = SimulationOptions(
    nodes=1, n=1, w=1, r=1, faults=("disk_lost",)
)  # members would not confirm it
_RESTORED: Final = SimulationOptions(nodes=3, keys=2, faults=("folder_restored",))
_RESTORED_UNSHARED: Final = replace(_RESTORED, n=1, w=1, r=1)  # other owners bring back what a copy lacks

IDENTITY: Final = (
    Ablation(
        "disk-id",
        "a node on another disk than the named one serves nothing",
        _disk_id(),
        _OTHER,
        rules=("I2",),
    ),
    Ablation(
        "fresh-actor", "every start has actors of its own", _fresh_actor(), _CRASHES_OF_THREE, rules=("I4",)
    ),
    Ablation(
        "store-named",
        "a store that is not the one its node left is a lost one",
        _store_named(),
        _LOST,
        rules=("I6",),
    ),
    Ablation(
        "left-compared",
        "a store has to hold what a clean stop left in it",
        _left_compared(),
        _LOST,
        rules=("I6",),
    ),
    Ablation(
        "starts-remembered",
        "members refuse a folder that lacks a start they know",
        _starts_remembered(),
        _RESTORED,
        rules=("I3",),
    ),
    Ablation(
        "starts-synced",
        "a start is on a member's disk before the member confirms it",
        _starts_synced(),
        _RESTORED_UNSHARED,
        rules=("I3",),
    ),
    Ablation(
        "boot-compared",
        "a start is known by its boot id, not by its number",
        _boot_compared(),
        _RESTORED,
        rules=("I3",),
    ),
    Ablation(
        "log-compared",
        "a folder that lacks the end of a known log is an old copy",
        _log_compared(),
        _RESTORED_UNSHARED,
        rules=("I5",),
    ),
    Ablation(
        "memory-compared",
        "a start whose log is shorter than it was is an old copy",
        _memory_compared(),
        SimulationOptions(nodes=3, keys=2, faults=("machine_put_back",)),
        rules=("I5",),
    ),
    Ablation(
        "few-refusals-end-nothing",
        "a node that serves is ended by as many members as let a start serve, not by one",
        _few_refusals_end_nothing(),
        SimulationOptions(faults=("folder_copied",)),
        rules=("I3",),
    ),
    Ablation(
        "unconfirmed-waits",
        "a start serves nothing before it is confirmed",
        _unconfirmed_waits(),
        _RESTORED,
        rules=("I3",),
    ),
)
