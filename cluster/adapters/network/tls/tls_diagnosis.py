"""Why no TLS connection came about, or why a connection without TLS did not: gRPC tells neither.

Asked only after a connection has failed, so it costs nothing otherwise.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import Unavailable

__all__ = ["tls_mismatch"]

_PATIENCE_S: Final = 1.0


async def tls_mismatch(address: str, tls: TlsFiles | None) -> Unavailable | None:
    """What is wrong with TLS at "host:port" for a side that has `tls`, or has none.

    None when it is not TLS that failed.
    """
    context = tls.client_context() if tls is not None else _trusting()
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return _told(address, f"its certificate is not accepted: {error.verify_message}", _UNTRUSTED)
    except ssl.SSLError as error:
        if tls is None:
            return None
        speaks_none = error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
        why = "it speaks no TLS" if speaks_none else f"the TLS handshake failed: {error.reason}"
        return _told(address, why, _NO_TLS if speaks_none else _UNTRUSTED)
    except (OSError, TimeoutError, ValueError):
        return None
    writer.transport.abort()
    return _told(address, "it speaks TLS, and this client does not", _GIVE_CA) if tls is None else None


_GIVE_CA: Final = "give the certificate of the cluster's authority: --tls-ca ca.pem, tls_ca=, RINGMILL_TLS_CA"
_NO_TLS: Final = (
    "the nodes there were started without --tls-cert: leave out --tls-ca (tls_ca=, RINGMILL_TLS_CA)"
)
_UNTRUSTED: Final = (
    "is --tls-ca of this cluster? `ringmill ca show` lists certificates and the hosts they name"
)


def _told(address: str, why: str, hint: str) -> Unavailable:
    return Unavailable(
        f"{address} cannot be reached: {why}",
        detail={"address": address, "tls": False},
        hint=hint,
        outcome="failed",
    )


def _trusting() -> ssl.SSLContext:
    """Trusts everybody, as nothing is sent: it only shows whether TLS is spoken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
