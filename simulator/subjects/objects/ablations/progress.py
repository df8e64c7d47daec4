"""Safeguards of progress: what nobody needs is not waited for, and nobody silent is trusted with a write."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

import ringmill.node.membership.starts
from ringmill.client.routing.directory import Directory
from ringmill.cluster.membership.detector import Detector
from ringmill.cluster.membership.start_rules import Announcement, others_needed
from ringmill.cluster.ports import Incoming
from ringmill.cluster.quorum.tally import WriteTally
from ringmill.node.membership.starts import own_announcement
from ringmill.node.requests.owners.handed_over import OneOwner
from ringmill.node.requests.owners.proofs import Proofs
from ringmill.node.requests.write_in_flight import WriteInFlight
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["PROGRESS"]


def _w_is_enough() -> Patches:
    """A write waits for every owner."""
    return (method(WriteTally.is_met, property(lambda tally: len(tally.acks) >= len(tally.owners))),)


def _half_confirms() -> Patches:
    """A start waits for all other members."""
    return (function(ringmill.node.membership.starts, others_needed, lambda members: members - 1),)


def _proved_first() -> Patches:
    """A client sends a write to an owner that may be silent."""

    async def trust(directory: Directory, *rest: Any, **how: Any) -> None:
        return

    return (method(Directory.prove, trust),)


def _forwards_proved() -> Patches:
    """A node hands a write to an owner that may be silent, and leaves it there: a further attempt would save
    it (rule W4)."""

    async def trust(proofs: Proofs, *rest: Any) -> bool:
        return True

    return (method(Proofs.answers, trust), *_silent_forwards_go_on())


def _silent_forwards_go_on() -> Patches:
    """A write stays with the owner that it was forwarded to, whatever becomes of that one."""

    def wait(attempt: OneOwner, *rest: Any) -> None:
        return

    return (method(OneOwner.silent, wait),)


def _silence_passed() -> Patches:
    """An owner seen down is asked only once all others have failed."""

    async def wait(write: WriteInFlight, patience_s: float) -> bool:
        if not write._is_first_round_over():
            write._first_round_over = write._first_round_over or asyncio.Event()
            await write._first_round_over.wait()
        return not write._tally.is_met

    return (method(WriteInFlight.needs_deferred, wait),)


def _hearsay_checked() -> Patches:
    """What a third member says of any start and number of a node is believed."""
    return (method(Detector._is_made_up, lambda detector, claim, held: False),)


def _denials_heard() -> Patches:
    """The highest start and number that anybody has told of a node counts, whatever it answers itself."""
    return (method(Detector._hear_denial, lambda detector, record, own, asked, now: []),)


def _starts_of_their_own() -> Patches:
    """What any member announces of another one's start is noted."""

    def take(incoming: Incoming) -> Announcement:
        return Announcement.decode(incoming.body)

    return (function(ringmill.node.membership.starts, own_announcement, take),)


_LYING: Final = SimulationOptions(faults=("forged_claims", "crash"), core=0.0)
_CORE: Final = SimulationOptions(core=1.0)
_HEALTHY: Final = SimulationOptions(core=1.0, faults=())
_FORWARDING: Final = replace(_HEALTHY, keys=24)
_SEEN_DOWN: Final = SimulationOptions(core=1.0, nodes=3, faults=("split_one", "one_way"))

PROGRESS: Final = (
    Ablation(
        "w-is-enough", "a write waits for w owners, never for all", _w_is_enough(), _HEALTHY, rules=("W1",)
    ),
    Ablation(
        "half-confirms", "half of the other members confirm a start", _half_confirms(), _CORE, rules=("I3",)
    ),
    Ablation(
        "proved-first",
        "a client sends a write to a node that answered lately",
        _proved_first(),
        _HEALTHY,
        rules=("W5",),
    ),
    Ablation(
        "forwards-proved",
        "a node forwards a write to an owner that answered lately",
        _forwards_proved(),
        _FORWARDING,
        rules=("W5",),
    ),
    Ablation(
        "silent-forwards-go-on",
        "a forwarded write goes to another owner when the first one falls silent",
        _silent_forwards_go_on(),
        _FORWARDING,
        rules=("W4",),
    ),
    Ablation(
        "hearsay-checked",
        "what a third member says of a start that nobody has noted is not believed",
        _hearsay_checked(),
        _LYING,
        rules=("T13",),
    ),
    Ablation(
        "denials-heard",
        "a member's own answer undoes what was said of a start or number that it does not have",
        _denials_heard(),
        _LYING,
        rules=("T13",),
    ),
    Ablation(
        "starts-of-their-own",
        "only a node itself has its start noted",
        _starts_of_their_own(),
        _LYING,
        rules=("T13",),
    ),
    Ablation(
        "silence-passed",
        "an owner seen down is asked when the others are silent",
        _silence_passed(),
        _SEEN_DOWN,
        rules=("T7",),
    ),
)
