"""The record of what a run asked of keyspaces, and of every document that a node came to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ringmill.cluster.ring.topology import Topology

__all__ = ["Adopted", "KeyspaceCall", "KeyspaceKind"]

KeyspaceKind = Literal["create", "alter", "drop", "list"]


@dataclass(slots=True)
class KeyspaceCall:
    """One call of one client; `returned` is None while no answer came, in seconds of true time.

    `ttl_ms` names a create or an alter: no other call of the run has the same.
    """

    session: str
    kind: KeyspaceKind
    name: str
    ttl_ms: int
    invoked: float
    returned: float | None = None
    outcome: Literal["ok", "conflict", "failed", "unknown"] = "unknown"
    epoch: int = 0
    error: str = ""
    is_of_core: bool = False  # asked of a healed core, which owes an answer
    timeout_s: float | None = None  # how long its client waits at most; None: nobody judges that
    given_up: float | None = None  # when its driver has stopped to wait for it


@dataclass(frozen=True, slots=True)
class Adopted:
    """A node held this document, on its disk, at some time."""

    node: str
    at: float
    topology: Topology
