"""The one table of who may ask what: each method that a client can ask, and the least role that it needs.

Plain calls are named "Service/Method" as in proto/, operations of a session as in frames.  What is not here
is for nobody but the cluster's token, and a test finds it.  Methods between nodes are not here: a client
cannot reach them (docs/formats/frame.md, "Methods").  Rule F8: docs/protocol/requests.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from ringmill.cluster.access.roles import ADMIN, JOBS, NOBODY, READ, WRITE

__all__ = ["METHOD_ROLES", "Need", "role_needed"]


class Need(NamedTuple):
    """The least `role`.

    With `is_open` a client without any token is let in, too, unless the cluster requires one.
    """

    role: str
    is_open: bool = True


_ANYBODY: Final = Need(NOBODY)
_READ: Final = Need(READ)
_WRITE: Final = Need(WRITE)
_ADMIN: Final = Need(ADMIN)
_JOBS: Final = Need(JOBS, is_open=False)  # a job runs code
_CLOSED: Final = Need(ADMIN, is_open=False)  # else everybody could issue tokens to itself

METHOD_ROLES: Final[Mapping[str, Need]] = MappingProxyType(
    {
        "kv.put": _WRITE,
        "kv.delete": _WRITE,
        "kv.touch": _WRITE,
        "kv.get": _READ,
        "kv.cas": _WRITE,
        "kv.incr": _WRITE,
        "kv.register": _READ,
        "Kv/Put": _WRITE,
        "Kv/Delete": _WRITE,
        "Kv/Touch": _WRITE,
        "Kv/Get": _READ,
        "Kv/Watch": _READ,
        "Kv/WatchPrefix": _READ,
        "Kv/Locate": _READ,
        "Registers/Cas": _WRITE,
        "Registers/Incr": _WRITE,
        "Registers/Read": _READ,
        "Scans/Page": _READ,
        "Explain/Get": _READ,
        # A client asks these before it can prove who it is.  They tell who the members are and which
        # keyspaces there are, and no key.
        "Topology/Identify": _ANYBODY,
        "Topology/Get": _ANYBODY,
        "Topology/GetFormer": _READ,
        "Topology/Init": _ADMIN,
        "Keyspaces/List": _READ,
        "Keyspaces/Create": _ADMIN,
        "Keyspaces/Alter": _ADMIN,
        "Keyspaces/Drop": _ADMIN,
        # `cluster up` and whoever watches a cluster's health ask this without a token.  It tells numbers.
        "Membership/Status": _ANYBODY,
        "Membership/Metrics": _READ,
        "Membership/Sizes": _READ,
        "Membership/Hot": _READ,
        "Members/Join": _ANYBODY,  # who asks proves a right to it by a join token (rule T11)
        "Members/GetMoves": _READ,
        "Members/Change": _ADMIN,
        "Members/SteerMoves": _ADMIN,
        "Members/ReplaceDisk": _ADMIN,
        "Members/Recover": _ADMIN,
        "Repair/Status": _READ,
        "Repair/Run": _ADMIN,
        "Repair/Heal": _ADMIN,
        "Jobs/PutBundle": _JOBS,
        "Jobs/Submit": _JOBS,
        "Jobs/Watch": _JOBS,
        "Jobs/Status": _JOBS,
        "Jobs/List": _JOBS,
        "Jobs/Logs": _JOBS,
        "Jobs/Attempts": _JOBS,
        "Jobs/Task": _JOBS,
        "Jobs/Kill": _JOBS,
        "Jobs/Pause": _JOBS,
        "Jobs/Resume": _JOBS,
        "Jobs/Purge": _JOBS,
        "Jobs/Coordinator": _JOBS,
        "Jobs/HandOver": _JOBS,
        "Auth/Issue": _CLOSED,
        "Auth/Revoke": _CLOSED,
        "Auth/Require": _CLOSED,
        "Auth/List": _CLOSED,
        # Who reads tables reads all values; who brings objects says what they have replaced.
        "Backup/Look": _CLOSED,
        "Backup/Pin": _CLOSED,
        "Backup/HashTable": _CLOSED,
        "Backup/ReadTable": _CLOSED,
        "Backup/Unpin": _CLOSED,
        "Backup/BringObjects": _CLOSED,
        "Backup/BringRegisters": _CLOSED,
    }
)


def role_needed(method: str) -> Need:
    """What a method needs, by its name in the table; the most there is for one that is not in it."""
    return METHOD_ROLES.get(method, _CLOSED)
