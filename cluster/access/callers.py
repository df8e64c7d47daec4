"""Who a client is to a node, and what decides what it may ask.

The side of the network finds out who calls; what a caller may do is decided by the node's services, and this
is what the two know of each other.  Rule F8: docs/protocol/requests.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from ringmill.cluster.access.scram import KeptKeys

__all__ = ["CLUSTER_CALLER", "UNKNOWN_CALLER", "Permissions", "Caller", "Standing"]


class Caller(NamedTuple):
    """A client by the token that it has proved: one of its own, the cluster's, or none."""

    token_id: str = ""
    has_cluster_token: bool = False


UNKNOWN_CALLER: Final = Caller()
CLUSTER_CALLER: Final = Caller(has_cluster_token=True)


class Standing(Protocol):
    """What the client of one open session may ask, by the newest topology that this node knows."""

    def has_changed(self) -> bool:
        """Whether what it was allowed has to be looked at again, since the last time this was asked."""
        ...

    def check(self, method: str) -> None:
        """Raise PermissionDenied unless it may ask this method now."""
        ...


class Permissions(Protocol):
    """Decides what clients may ask."""

    def keys_of(self, token_id: str) -> KeptKeys:
        """The keys that are kept of a token, in force or not.  Raises PermissionDenied for an unknown one."""
        ...

    def standing(self, caller: Caller) -> Standing: ...
