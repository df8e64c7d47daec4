"""What owners keep of a partition's removed registers, so that a removed one leaves no gap.

A register that was removed is as one that never was, but for two numbers: its versions must not come again,
and an operation that it remembered must not be applied again.  One pair stands for all of a partition.

Pure.  Rule R5: docs/protocol/registers.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.consensus.acceptor import AcceptorState
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.register_codec import decode_register
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime

__all__ = [
    "NO_REMAINS",
    "OWN_KEYSPACE",
    "OWN_PREFIX",
    "Remains",
    "combined",
    "empty_register",
    "holds_own",
    "is_own",
    "remains_of",
    "with_remains",
]


class Remains(NamedTuple):
    """No removed register had a version above `version`, nor an operation younger than `time`."""

    version: int = 0
    time: HybridTime = ZERO


NO_REMAINS: Final = Remains()
OWN_KEYSPACE: Final = "registers"
"""Every cluster is formed with it, and nobody can drop it.  One that an earlier release has formed may have
made it later, so it has no fixed id."""
OWN_PREFIX: Final = b"ringmill/"
"""The prefix of the cluster's own registers there.

None is removed, so none counts on from remains: the journal of a job expects a slot that was never used in
version 0.
"""


def holds_own(keyspace: KeyspaceEntry) -> bool:
    """Whether registers of the cluster itself are in it: those whose keys begin with OWN_PREFIX."""
    return keyspace.name == OWN_KEYSPACE and keyspace.kind == "registers"


def is_own(keyspace: KeyspaceEntry, key: bytes) -> bool:
    """Whether a register is one of the cluster itself: keys of other keyspaces are all their clients'."""
    return key.startswith(OWN_PREFIX) and holds_own(keyspace)


def combined(one: Remains, other: Remains) -> Remains:
    """What stands for all that either stands for."""
    return Remains(max(one.version, other.version), max(one.time, other.time))


def remains_of(register: Register) -> Remains:
    """What has to be kept when this register is removed."""
    return Remains(
        max(register.version, register.forgotten_version),
        max([register.forgotten, *(each.time for each in register.applied)]),
    )


def with_remains(register: Register, remains: Remains) -> Register:
    """The register that a round goes on from, or a read shows, where owners tell of these remains.

    One without a value may be the rest of a removed one: it counts from their version on, and what made its
    versions up to there may be forgotten.
    """
    if register.value is not None or register.version >= remains.version:
        return register
    return register._replace(
        version=remains.version,
        forgotten_version=remains.version,
        forgotten=max(register.forgotten, remains.time),
    )


def empty_register(state: AcceptorState) -> Register | None:
    """What an owner has accepted, when that is not a value; None for one that holds a value.

    Raises ProtocolMismatch, CorruptData.
    """
    register = decode_register(state.value)
    return register if register.value is None else None
