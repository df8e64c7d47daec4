"""Who makes a plain call that carries a token as it is: a generated client makes no proofs.

Rule F8: docs/protocol/requests.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from ringmill.cluster.access.callers import CLUSTER_CALLER, UNKNOWN_CALLER, Caller, Permissions
from ringmill.cluster.access.client_token import client_token
from ringmill.cluster.access.cluster_secret import accepted_secrets
from ringmill.cluster.access.scram import kept_keys
from ringmill.cluster.errors import PermissionDenied

__all__ = ["TOKEN_KEY", "raw_caller", "wrong_token"]

TOKEN_KEY: Final = "ringmill-token"  # noqa: S105 - the name of the metadata that has it


def raw_caller(token: str, metadata: Mapping[str, str], permissions: Permissions | None = None) -> Caller:
    """Who calls with these texts, which may have a token.

    `token` is the cluster's; a node without one looks at none.  Raises PermissionDenied for a wrong one, and
    InvalidArgument for a client's that is damaged.
    """
    given = metadata.get(TOKEN_KEY, "")
    if not given or not token:
        return UNKNOWN_CALLER
    shown = given.encode(errors="surrogateescape")  # over HTTP it may be no UTF-8
    if any(hmac.compare_digest(shown, each.encode()) for each in accepted_secrets(token)):
        return CLUSTER_CALLER
    own = client_token(given)
    if own is None or permissions is None:
        raise wrong_token("the cluster's token")
    if not hmac.compare_digest(kept_keys(own.secret).stored, permissions.keys_of(own.id).stored):
        raise wrong_token(f"token {own.id}")
    return Caller(own.id)


def wrong_token(what: str) -> PermissionDenied:
    """The error of a caller that does not know the secret of what it names."""
    return PermissionDenied(
        f"{what} is wrong (metadata {TOKEN_KEY})",
        detail={"token": "wrong"},
        hint="the cluster's is the line in the file `token` of the cluster's folder: give it with "
        "--token-file, RINGMILL_TOKEN or token=, or point RINGMILL_HOME and --cluster at it",
    )
