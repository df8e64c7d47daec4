"""Which registers are the cluster's own, and no client's.

No token opens them: whoever writes those runs code.
"""

from __future__ import annotations

from ringmill.cluster.consensus.remains import OWN_KEYSPACE, OWN_PREFIX
from ringmill.cluster.errors import PermissionDenied

__all__ = ["check_for_clients"]


def check_for_clients(keyspace: str, key: bytes) -> None:
    """Raise PermissionDenied for a register of the cluster itself."""
    if key.startswith(OWN_PREFIX) and keyspace == OWN_KEYSPACE:
        raise PermissionDenied(
            "registers whose key begins with ringmill/ are the cluster's own",
            hint="use another key: no token opens these to clients",
        )
