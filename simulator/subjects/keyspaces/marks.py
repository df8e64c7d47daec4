"""What runs of keyspaces have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["KEYSPACE_MARKS"]

KEYSPACE_MARKS: Final = (
    "a voter answers with a newer document",
    "another change of the topology came first",
    "a change of the topology is finished for another node",
    "two nodes propose an epoch at once",
    "who asks for the newest document finishes its decision",
    "a change of a keyspace comes after another one that its caller had not heard of",
    "a node that has missed an epoch refuses a change of a keyspace",
    "a join token is shown again after its node was removed",
    "a change of a keyspace leaves alone the one that has its name now",
    "what a dropped keyspace has left is removed",
    "what is brought of a dropped keyspace is left",
)
