"""A generation: a keyspace that a job fills beside the one that it will replace, by changes of the document.

Each change may be made again, by whoever goes on with the job: who meets what is done already changes
nothing.  A generation is told by its ordinal, which follows from the job's journal, so that nobody takes the
one of another job for his own.

Rule J25: docs/protocol/jobs.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple, Self

from xxhash import xxh3_64_intdigest

from ringmill.cluster.errors import InvalidArgument, NotFound
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.keyspaces.keyspace_changes import FIRST_KEYSPACES
from ringmill.cluster.ring.succession import with_keyspaces
from ringmill.cluster.ring.topology import MAX_KEYSPACES, KeyspaceEntry, Topology

__all__ = ["Generation", "check_may_be_replaced"]

_ORDINALS: Final = 2**32 - 1
_NAME_CHARS: Final = 46


class Generation(NamedTuple):
    """`replaces` is the name of a keyspace, `former` its id when the job was planned."""

    replaces: str
    former: KeyspaceId
    name: str
    ordinal: int

    @classmethod
    def of(cls, replaces: str, former: KeyspaceId, journal: str) -> Self:
        """The generation that the job of a journal fills."""
        digest = xxh3_64_intdigest(journal.encode())
        return cls(replaces, former, f"{replaces[:_NAME_CHARS]}.{digest:016x}", 1 + digest % _ORDINALS)

    def shown_in(self, topology: Topology) -> bool:
        """Whether it has replaced the keyspace, and has its name."""
        present = topology.keyspace_named(self.replaces) if topology.has_keyspace(self.replaces) else None
        return present is not None and present.id.ordinal == self.ordinal

    def filled_in(self, topology: Topology) -> KeyspaceEntry | None:
        """The keyspace that is being filled; None before it is made, and once it is gone or shows."""
        if not topology.has_keyspace(self.name):
            return None
        entry = topology.keyspace_named(self.name)
        return entry if entry.id.ordinal == self.ordinal else None

    def begun(self, topology: Topology) -> Topology | None:
        """With the generation, empty and with the settings of what it will replace; None when it is there, or
        shows already.  Raises NotFound, InvalidArgument."""
        if self.shown_in(topology) or self.filled_in(topology) is not None:
            return None
        if len(topology.keyspaces) >= MAX_KEYSPACES:
            raise InvalidArgument(f"there are {MAX_KEYSPACES} keyspaces, and to replace one takes one more")
        entry = replace(
            self._former_in(topology), id=KeyspaceId(topology.epoch + 1, self.ordinal), name=self.name
        )
        return with_keyspaces(topology, (*topology.keyspaces, entry))

    def flipped(self, topology: Topology) -> Topology | None:
        """With the generation under the name of what it replaces, which is dropped; None when that is so.

        Raises NotFound when either is there no more.
        """
        if self.shown_in(topology):
            return None
        former, filled = self._former_in(topology), self.filled_in(topology)
        if filled is None:
            raise NotFound(f"keyspace {self.name!r} is there no more: somebody has dropped it")
        shown = replace(former, id=filled.id)
        others = (each for each in topology.keyspaces if each is not filled)
        return with_keyspaces(topology, tuple(shown if each is former else each for each in others))

    def given_up(self, topology: Topology) -> Topology | None:
        """Without the generation, unless it shows; None when there is nothing to drop."""
        filled = self.filled_in(topology)
        if filled is None:
            return None
        return with_keyspaces(topology, tuple(each for each in topology.keyspaces if each is not filled))

    def _former_in(self, topology: Topology) -> KeyspaceEntry:
        if not topology.has_keyspace(self.replaces):
            raise NotFound(f"keyspace {self.replaces!r} is there no more")
        present = topology.keyspace_named(self.replaces)
        if present.id != self.former:
            raise NotFound(
                f"keyspace {self.replaces!r} was dropped or replaced, and another one has its name"
            )
        return present


def check_may_be_replaced(keyspace: str) -> None:
    """Raises InvalidArgument for a keyspace that no job may replace."""
    if keyspace in FIRST_KEYSPACES:
        raise InvalidArgument(
            f"keyspace {keyspace!r} cannot be replaced: requests that name no keyspace mean it",
            hint="make a keyspace of its own for what a job writes",
        )
