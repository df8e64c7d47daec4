"""What a node with TLS looks at before it answers a call over gRPC: how the caller has connected.

gRPC for Python cannot demand TLS 1.3, and knows no revocation lists.  Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

from typing import Final

import grpc

from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import ProtocolMismatch

__all__ = ["check_caller"]

_LEAST: Final = b"TLSv1.3"


def check_caller(tls: TlsFiles, context: grpc.aio.ServicerContext) -> None:
    """Raise ProtocolMismatch for an older TLS, PermissionDenied for a bad certificate that is demanded."""
    found = context.auth_context()
    if list(found.get("ssl_tls_version", ())) != [_LEAST]:
        raise ProtocolMismatch("TLS 1.3 is wanted", hint="use a client with a newer TLS library")
    if tls.demands:
        tls.check_pem(next(iter(found.get("x509_pem_cert", ())), b""))
