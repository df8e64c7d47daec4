"""When each keyspace was changed last, as far as a node can tell: by the documents that it has held in turn.

A change that lay somewhere says under which epoch it was asked for.  It is refused once its keyspace was
changed after that, or may have been: a node that has missed an epoch does not know.  Nothing of this is in
the document, and nothing is stored: a node that starts knows of no change before the document that it has.

Rule T12: docs/protocol/topology.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.ids import Epoch
from ringmill.cluster.ring.topology import KeyspaceEntry, Topology
from ringmill.cluster.sometimes import sometimes

__all__ = ["LastChanges"]

_MOST_NAMES: Final = 4096  # of keyspaces that are there or are gone; a document has 1,024 at most


class LastChanges:
    """Called with each document that the node holds, before any change is made to it."""

    def __init__(self) -> None:
        self._held: Topology | None = None
        self._known_from = Epoch(0)
        """All changes after this epoch are known."""
        self._changed: dict[str, Epoch] = {}  # oldest first

    def saw(self, topology: Topology) -> None:
        """The node holds this document now; one that it holds already may be told of again."""
        before, self._held = self._held, topology
        if before is None or topology.epoch > before.epoch + 1:
            self._known_from = topology.epoch
            self._changed.clear()
        elif before.keyspaces != topology.keyspaces:
            self._note(_by_name(before), _by_name(topology), topology.epoch)

    def check(self, name: str, asked_in: Epoch) -> None:
        """Raise WrongEpoch unless the keyspace of this name is as it was in the epoch `asked_in`."""
        changed_in = self._changed.get(name, Epoch(0))
        if asked_in < changed_in:
            sometimes("a change of a keyspace comes after another one that its caller had not heard of")
            raise self._late(asked_in, f"keyspace {name!r} was changed in epoch {changed_in}")
        if asked_in < self._known_from:
            sometimes("a node that has missed an epoch refuses a change of a keyspace")
            raise self._late(asked_in, f"this node knows no changes of keyspaces before {self._known_from}")

    def _note(self, before: dict[str, KeyspaceEntry], after: dict[str, KeyspaceEntry], epoch: Epoch) -> None:
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                self._changed.pop(name, None)
                self._changed[name] = epoch
        while len(self._changed) > _MOST_NAMES:
            self._known_from = max(self._known_from, self._changed.pop(next(iter(self._changed))))

    def _late(self, asked_in: Epoch, why: str) -> WrongEpoch:
        assert self._held is not None
        return WrongEpoch(
            f"a change of a keyspace was asked for under epoch {asked_in}, and {why}",
            detail={"epoch": self._held.epoch},
            hint="look at the keyspace, and ask again",
        )


def _by_name(topology: Topology) -> dict[str, KeyspaceEntry]:
    return {each.name: each for each in topology.keyspaces}
