"""Changes of the keyspaces: each is a function from a topology document to the next one.

None in place of a document means that the present one is as wanted, so a change that is sent again does no
harm.  Rules T1, T2 and T12: docs/protocol/topology.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.limits import MAX_TTL_MS
from ringmill.cluster.ring.succession import with_keyspaces
from ringmill.cluster.ring.topology import MAX_KEYSPACES, KeyspaceEntry, Topology
from ringmill.cluster.ring.topology_entries import check_name
from ringmill.cluster.sometimes import sometimes

__all__ = ["KeyspaceChanges", "NewKeyspace", "altered", "created", "dropped"]

FIRST_KEYSPACES: Final = ("default", "registers")
"""Every cluster is formed with them, and requests that name no keyspace mean them."""

# Two acknowledged requests at the former levels need not have an owner in common with one at the new ones,
# until all owners have exchanged what they hold (rule T1).
_LEVELS_STAY: Final = (
    "r and w of a keyspace cannot be changed: its owners would first have to exchange all that they hold"
)


@dataclass(frozen=True, slots=True)
class NewKeyspace:
    """What a keyspace is made with; `r` and `w` 0 mean a majority of the cluster's n."""

    name: str
    kind: str = "objects"
    policy: str = "siblings"
    r: int = 0
    w: int = 0
    ttl_ms: int = 0
    durability: str = "sync"
    quorum: str = "strict"

    def entry(self, id: KeyspaceId, n: int) -> KeyspaceEntry:
        """Raises InvalidArgument."""
        majority = n // 2 + 1
        entry = KeyspaceEntry(
            id, self.name, self.kind, self.policy, self.r or majority, self.w or majority,
            self.ttl_ms, self.durability, self.quorum,
        )  # fmt: skip
        check_name("keyspace", self.name)
        entry.check(epoch=id.epoch, n=n)
        _check_ttl(self.ttl_ms)
        if self.kind == "registers":
            _check_registers(entry, majority)
        return entry


@dataclass(frozen=True, slots=True)
class KeyspaceChanges:
    """What is to be different; None leaves it as it is.

    The quorum is not among it.  What was acknowledged with the help of fallbacks may not be with its owners
    yet, so a keyspace that became strict would break its promise at once; one that became sloppy would take
    away what its clients rely on (docs/decisions/sloppy-quorums-need-an-owner.md).
    """

    r: int | None = None
    w: int | None = None
    ttl_ms: int | None = None
    durability: str | None = None


def created(topology: Topology, new: NewKeyspace) -> Topology | None:
    """With one more keyspace; None when it is there with these settings.

    Raises InvalidArgument; Conflict when a keyspace of this name has other settings.
    """
    entry = new.entry(KeyspaceId(topology.epoch + 1, 0), topology.n)
    for present in topology.keyspaces:
        if present.name == new.name:
            if replace(present, id=entry.id) == entry:
                return None
            raise Conflict(
                f"there is a keyspace {new.name!r} with other settings ({_shown(present)})",
                hint=f"`ringmill keyspace show {new.name}` shows it, `ringmill keyspace alter` changes it",
            )
    if len(topology.keyspaces) >= MAX_KEYSPACES:
        raise InvalidArgument(f"there are {MAX_KEYSPACES} keyspaces, more are not possible")
    return with_keyspaces(topology, (*topology.keyspaces, entry))


def altered(
    topology: Topology, name: str, changes: KeyspaceChanges, meant: KeyspaceId | None = None
) -> Topology | None:
    """With other defaults of a keyspace; None when it has them.

    Raises InvalidArgument; Conflict when the one that is `meant` is there no more, and another one has its
    name.
    """
    present = topology.keyspace_named(name)
    _check_meant(present, meant)
    if changes.r not in (None, present.r) or changes.w not in (None, present.w):
        raise InvalidArgument(
            f"{_LEVELS_STAY} (it has r={present.r}, w={present.w})",
            hint="make a keyspace with other levels, or give -r and -w with each request",
        )
    entry = replace(
        present,
        ttl_ms=present.ttl_ms if changes.ttl_ms is None else changes.ttl_ms,
        durability=present.durability if changes.durability is None else changes.durability,
    )
    entry.check(epoch=topology.epoch, n=topology.n)
    if changes.ttl_ms is not None:
        _check_ttl(changes.ttl_ms)
    if entry.kind == "registers":
        _check_registers(entry, entry.r)
    if entry == present:
        return None
    return with_keyspaces(topology, tuple(entry if each is present else each for each in topology.keyspaces))


def dropped(
    topology: Topology, name: str, *, may_be_done: bool, meant: KeyspaceId | None = None
) -> Topology | None:
    """Without a keyspace, the one that is `meant` if that is said; None when it is gone and `may_be_done`.

    Raises InvalidArgument for one of the first keyspaces, and for one that is not there; Conflict when
    another one has its name.
    """
    if name in FIRST_KEYSPACES:
        raise InvalidArgument(f"keyspace {name!r} cannot be dropped: requests that name no keyspace mean it")
    found = [each for each in topology.keyspaces if each.name == name and meant in (None, each.id)]
    if may_be_done and not found:
        return None
    gone = topology.keyspace_named(name)
    _check_meant(gone, meant)
    return with_keyspaces(topology, tuple(each for each in topology.keyspaces if each is not gone))


def _check_meant(present: KeyspaceEntry, meant: KeyspaceId | None) -> None:
    """A request may lie at a node for long, and be done meanwhile through another one (rule T12).

    Raises Conflict.
    """
    if meant not in (None, present.id):
        sometimes("a change of a keyspace leaves alone the one that has its name now")
        raise Conflict(
            f"keyspace {present.name!r} was dropped or replaced, and another one has its name",
            hint=f"`ringmill keyspace show {present.name}` shows it",
        )


def _check_ttl(ttl_ms: int) -> None:
    """As of a single write.  Documents may have longer ones, as nothing else was made sure of before.

    Raises InvalidArgument.
    """
    if ttl_ms > MAX_TTL_MS:
        raise InvalidArgument(
            f"keyspace ttl_ms is {ttl_ms}, the limit is {MAX_TTL_MS} (100 years)", hint="0 never expires"
        )


def _check_registers(entry: KeyspaceEntry, majority: int) -> None:
    """Raise InvalidArgument unless registers ask a majority, which syncs (rule R1)."""
    is_plain = (entry.policy, entry.ttl_ms, entry.durability) == ("siblings", 0, "sync")
    if not is_plain or (entry.r, entry.w) != (majority, majority):
        raise InvalidArgument(
            "a keyspace of registers has no policy, no ttl and no durability of its own, and its levels are "
            f"majorities ({majority})",
            hint="leave out all settings but --kind registers",
        )


def _shown(entry: KeyspaceEntry) -> str:
    return (
        f"kind {entry.kind}, policy {entry.policy}, r={entry.r}, w={entry.w}, ttl {entry.ttl_ms} ms, "
        f"durability {entry.durability}, quorum {entry.quorum}"
    )
