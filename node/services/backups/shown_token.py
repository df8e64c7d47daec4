"""The cluster's token, which calls about backups show in their metadata."""

from __future__ import annotations

import hmac

from ringmill.cluster.errors import PermissionDenied
from ringmill.node.services.jobs_service import TOKEN_KEY
from ringmill.node.services.table import Call

__all__ = ["check_token"]


def check_token(token: str, call: Call) -> None:
    """Raise PermissionDenied unless the call shows the token of this node; "" refuses everybody."""
    if not token:
        raise PermissionDenied(
            "this node serves no backups: it was started without the cluster's token",
            hint="start it with --token-file",
        )
    given = call.metadata.get(TOKEN_KEY, "")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise PermissionDenied(
            f"the cluster's token is {'wrong' if given else 'missing'}, which backups need (metadata "
            f"{TOKEN_KEY})",
            hint="it is the line in the file `token` of the cluster's folder: --token-file, RINGMILL_TOKEN",
        )
