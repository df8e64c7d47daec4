"""Who may make plain calls to a node with TLS: who has the cluster's token, over TLS 1.3.

Without TLS a token is not asked for, as whoever can reach the node is on its machine, and could read what is
sent.  Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

import grpc

from ringmill.cluster.errors import PermissionDenied, ProtocolMismatch
from ringmill.node.services.jobs_service import TOKEN_KEY

__all__ = ["TokenGate"]

_VERSION: Final = "ssl_tls_version"
_LEAST: Final = b"TLSv1.3"
_WITHOUT: Final = ("/ringmill.v1.Members/Join",)  # who asks for the token proves a right to it (T11)


class TokenGate:
    """Admits calls that bring the `token`; "" asks nobody for one."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def check(self, context: grpc.aio.ServicerContext, path: str, told: Mapping[str, str]) -> None:
        """Raise PermissionDenied for a call without the token, ProtocolMismatch for an older TLS."""
        if list(context.auth_context().get(_VERSION, ())) != [_LEAST]:  # gRPC has no setting for it
            raise ProtocolMismatch("TLS 1.3 is wanted", hint="use a client with a newer TLS library")
        given = told.get(TOKEN_KEY, "")
        if self._token and path not in _WITHOUT and not hmac.compare_digest(given.encode(), self._token):
            raise PermissionDenied(
                f"the cluster's token is {'wrong' if given else 'missing'}, which a node with TLS asks all "
                f"clients for (metadata {TOKEN_KEY})",
                hint="--token-file, token= or RINGMILL_TOKEN",
            )
