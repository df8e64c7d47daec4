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
    context = tls.grpc_context() if tls is not None else _trusting()
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        async with asyncio.timeout(_PATIENCE_S):
            is_served = await _is_served(host, int(port), context)
    except ssl.SSLCertVerificationError as error:
        return _told(address, f"its certificate is not accepted: {error.verify_message}", _UNTRUSTED)
    except ssl.SSLError as error:
        return None if tls is None else _failed(address, error.reason or "no reason given")
    except (OSError, TimeoutError, ValueError):
        return None
    if tls is None:
        return _told(address, "it speaks TLS, and this client does not", _GIVE_CA)
    if is_served:
        return None
    why = (
        "does not accept the certificate of this client"
        if tls.shows
        else "wants a certificate of this client, too"
    )
    return _told(address, f"it {why}", _SHOW_OWN)


async def _is_served(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether a gRPC server goes on after the handshake, which it does by speaking first.  Raises OSError."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        return bool(await reader.read(1))
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()


def _failed(address: str, reason: str) -> Unavailable:
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return _told(address, "it speaks no TLS", _NO_TLS)
    return _told(address, f"the TLS handshake failed: {reason}", _UNTRUSTED)


_GIVE_CA: Final = "give the certificate of the cluster's authority: --tls-ca ca.pem, tls_ca=, RINGMILL_TLS_CA"
_NO_TLS: Final = (
    "the nodes there were started without --tls-cert: leave out --tls-ca (tls_ca=, RINGMILL_TLS_CA)"
)
_SHOW_OWN: Final = "`ringmill ca issue --client NAME` makes one: --tls-cert, --tls-key (tls_cert=, tls_key=)"
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
    context.set_alpn_protocols(["h2"])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
