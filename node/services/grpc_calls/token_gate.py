"""Who may make plain calls to a node with TLS: who has the cluster's token, and has connected as is wanted.

Without TLS a token is not asked for, as whoever can reach the node is on its machine, and could read what is
sent.  Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

import grpc

from ringmill.cluster.errors import PermissionDenied
from ringmill.node.services.jobs_service import TOKEN_KEY

__all__ = ["TokenGate"]


class TokenGate:
    """Admits calls that bring the `token`; "" asks nobody for one.

    `connected` raises a RingmillError for a connection that is not as it should be.
    """

    def __init__(self, token: str, connected: Callable[[grpc.aio.ServicerContext], None]) -> None:
        self._token = token.encode()
        self._connected = connected

    def check(self, context: grpc.aio.ServicerContext, _path: str, told: Mapping[str, str]) -> None:
        """Raise PermissionDenied for a call without the token, and what `connected` raises."""
        self._connected(context)
        given = told.get(TOKEN_KEY, "")
        if self._token and not hmac.compare_digest(given.encode(), self._token):
            raise PermissionDenied(
                f"the cluster's token is {'wrong' if given else 'missing'}, which a node with TLS asks all "
                f"clients for (metadata {TOKEN_KEY})",
                hint="--token-file, token= or RINGMILL_TOKEN",
            )
