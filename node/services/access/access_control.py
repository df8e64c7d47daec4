"""Decides what a client may ask: by its token, as the newest topology of this node has it, and the one table.

A session is looked at again when the topology changes and when its token expires, so a token that was revoked
opens nothing from the first request on that comes after the node has learned of it.

Rules F7 and F8: docs/protocol/requests.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ringmill.cluster.access.callers import UNKNOWN_CALLER, Caller
from ringmill.cluster.access.roles import NOBODY, includes
from ringmill.cluster.access.scram import KeptKeys
from ringmill.cluster.complaints import Complaints
from ringmill.cluster.errors import PermissionDenied
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.access.access_entries import OPEN_TO_ALL, Access, TokenEntry
from ringmill.cluster.ring.topology import Topology
from ringmill.node.services.access.method_roles import Need, role_needed

__all__ = ["AccessControl"]

_HINT = "`ringmill auth issue NAME --role ROLE` makes a token: --token-file, RINGMILL_TOKEN or token= give it"


class AccessControl:
    """`topology` is the newest that the node knows, None before there is one.

    A node without the cluster's token (`has_token`) cannot tell who calls, so it refuses what needs a token.
    One that `asks_all` for a token, as with TLS, does so whatever the cluster requires.
    """

    def __init__(
        self,
        node: str,
        clock: Clock,
        topology: Callable[[], Topology | None],
        *,
        has_token: bool,
        asks_all: bool = False,
        shared_s: Callable[[], float] | None = None,
    ) -> None:
        """`shared_s` tells the time by which tokens expire, seconds since 1970; without it `clock` does."""
        self._node = node
        self.now_s = shared_s or clock.wall
        self._topology = topology
        self._has_token = has_token
        self._asks_all = asks_all
        self._complaints = Complaints(node, clock)
        self.denied = 0
        """Requests that were refused since the start, as their client may not make them."""

    @property
    def access(self) -> Access:
        topology = self._topology()
        return OPEN_TO_ALL if topology is None else topology.access

    def keys_of(self, token_id: str) -> KeptKeys:
        """The keys of a token, as cluster/access/callers.py asks for them.  Raises PermissionDenied."""
        try:
            return self._entry(token_id).keys
        except PermissionDenied as error:
            self._note("a token", error, token_id)
            raise

    def standing(self, caller: Caller) -> _SessionStanding:
        return _SessionStanding(self, caller)

    def check(self, caller: Caller, method: str) -> None:
        """Raise PermissionDenied, which names the role that is needed, unless the caller may ask this."""
        try:
            self._check(caller, method, role_needed(method))
        except PermissionDenied as error:
            self._note(method, error, caller.token_id)
            raise

    def expires_s(self, caller: Caller) -> float:
        """When the token of a caller expires, in seconds since 1970."""
        entry = self.access.find(caller.token_id)
        return math.inf if entry is None or not entry.expires_s else float(entry.expires_s)

    def _check(self, caller: Caller, method: str, need: Need) -> None:
        if caller.has_cluster_token or need.role == NOBODY:
            return
        if caller == UNKNOWN_CALLER:
            if not need.is_open or self._asks_all or self.access.is_required:
                raise self._missing(method, need)
            return
        token = self._entry(caller.token_id)
        if token.is_revoked:
            raise _over(token, "revoked", "it was revoked")
        if token.is_over(self.now_s()):
            raise _over(token, "expired", f"it expired {self.now_s() - token.expires_s:.0f} s ago")
        if not includes(token.role, need.role):
            raise PermissionDenied(
                f"{method} needs the role {need.role}; the token {token.name} has the role {token.role}",
                detail={"token": "role", "needs": need.role, "given": token.role},
                hint=_HINT,
            )

    def _entry(self, token_id: str) -> TokenEntry:
        token = self.access.find(token_id)
        if token is None:
            raise PermissionDenied(
                f"{self._node} knows no token {token_id[:16]!r}",
                detail={"token": "unknown"},
                hint="it is of another cluster, or was revoked long ago; `ringmill auth list` shows all",
            )
        return token

    def _missing(self, method: str, need: Need) -> PermissionDenied:
        if not self._has_token:
            what = "accepts no jobs" if method.startswith("Jobs/") else "knows no roles"
            return PermissionDenied(
                f"this node {what}: it was started without the cluster's token",
                hint="start it with --token-file",
            )
        return PermissionDenied(
            f"{method} needs the role {need.role}; a token is missing, the cluster's or one with that role",
            detail={"token": "missing", "needs": need.role},
            hint="give it with --token-file, RINGMILL_TOKEN or token=, or point RINGMILL_HOME and --cluster "
            "at the cluster's folder",
        )

    def _note(self, method: str, error: PermissionDenied, token_id: str) -> None:
        self.denied += 1
        self._complaints.add(
            method, error, by=f"a client with token {token_id[:16]}" if token_id else "a client"
        )


class _SessionStanding:
    """The client of one open session (ringmill.cluster.access.callers.Standing)."""

    def __init__(self, control: AccessControl, caller: Caller) -> None:
        self._control = control
        self._caller = caller
        self._access = control.access
        self._expires_s = control.expires_s(caller)

    def has_changed(self) -> bool:
        access = self._control.access
        if access is self._access and (
            self._expires_s == math.inf or self._control.now_s() < self._expires_s
        ):
            return False
        self._access, self._expires_s = access, self._control.expires_s(self._caller)
        return True

    def check(self, method: str) -> None:
        self._control.check(self._caller, method)


def _over(token: TokenEntry, state: str, why: str) -> PermissionDenied:
    return PermissionDenied(
        f"the token {token.name} (id {token.id}) opens nothing any more: {why}",
        detail={"token": state},
        hint=_HINT,
    )
