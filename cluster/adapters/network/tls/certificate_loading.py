"""Reads the files of TLS: what each has to hold, and what is said of one that does not.

`cryptography` is imported by those who have a certificate or a revocation list.  Nothing is kept here;
cluster/adapters/network/tls/tls_files.py does that.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

import grpc

from ringmill.cluster.adapters.network.tls.certificate_names import Holder, holder_of
from ringmill.cluster.errors import InvalidArgument

__all__ = ["CertificatePaths", "Loaded", "as_ssl_has_it", "tls_context", "load", "file_mark"]

_END_OF_LIST: Final = b"-----END X509 CRL-----"


class CertificatePaths(NamedTuple):
    """Where the files are; "" for none.  `ca` is there in any case, `cert` and `key` together."""

    ca: str
    cert: str
    key: str
    crl: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files held when they were read."""

    authorities: bytes
    chain: bytes  # our own certificate, b"" for a client without one
    key: bytes
    holder: Holder | None  # whom our certificate names
    ends_at: float | None  # when it does; in seconds since 1970
    revoked: frozenset[int]
    listed: frozenset[bytes]  # the authorities whose lists of revocations these are
    client: ssl.SSLContext
    server: ssl.SSLContext | None
    credentials: grpc.ChannelCredentials


def load(paths: CertificatePaths, *, demands: bool, listed: frozenset[bytes] = frozenset()) -> Loaded:
    """Read all files.  `demands`: who connects has to show a certificate.  `listed`: authorities that need a
    list of revocations, as they had one before, if they are still trusted.

    Raises InvalidArgument, which names the flag of the file that is wrong.
    """
    authorities = _read("--tls-ca", paths.ca)
    chain = _read("--tls-cert", paths.cert) if paths.cert else b""
    key = _read_key(paths.key) if paths.key else b""
    client = tls_context(paths, ssl.PROTOCOL_TLS_CLIENT, authorities)
    server = None
    if chain:
        server = tls_context(paths, ssl.PROTOCOL_TLS_SERVER, authorities)
        server.verify_mode = ssl.CERT_REQUIRED if demands else ssl.CERT_OPTIONAL
        server.num_tickets = 0  # no session is resumed
    holder, ends_at = _holder(paths.cert, chain) if chain else (None, None)
    revoked, ours = _revoked(paths.crl, authorities, listed) if paths.crl else (frozenset(), frozenset())
    return Loaded(
        authorities=authorities,
        chain=chain,
        key=key,
        holder=holder,
        ends_at=ends_at,
        revoked=revoked,
        listed=ours,
        client=client,
        server=server,
        credentials=grpc.ssl_channel_credentials(authorities, key or None, chain or None),
    )


def tls_context(paths: CertificatePaths, kind: int, authorities: bytes) -> ssl.SSLContext:
    """A context that trusts these authorities and shows our certificate, if there is one."""
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgument(f"--tls-ca {paths.ca!r} holds no certificate: {error}") from error
    if paths.cert:
        try:
            context.load_cert_chain(paths.cert, paths.key)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise InvalidArgument(
                f"--tls-cert {paths.cert!r} and --tls-key {paths.key!r} cannot be used together: {error}"
            ) from error
    return context


def _holder(path: str, chain: bytes) -> tuple[Holder, float]:
    """Whom our certificate names, and when it ends."""
    from cryptography import x509  # noqa: PLC0415 - a node without TLS starts without it

    try:
        certificate = x509.load_pem_x509_certificate(chain)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        holder = holder_of(names.value.get_values_for_type(x509.UniformResourceIdentifier))
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion):
        holder = None
    if holder is None:
        raise InvalidArgument(
            f"--tls-cert {path!r} names no node and no client of a cluster",
            hint="certificates are made by `ringmill ca issue`",
        )
    return holder, certificate.not_valid_after_utc.timestamp()


def _revoked(
    path: str, authorities: bytes, listed: frozenset[bytes]
) -> tuple[frozenset[int], frozenset[bytes]]:
    """The serial numbers on the lists that an authority of ours has signed, and which authorities these are.

    A file that is not whole would let in again whom the lists name that it lacks.
    """
    from cryptography import x509  # noqa: PLC0415 - a node without TLS starts without it
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - the same

    *lists, rest = _read("--tls-crl", path).split(_END_OF_LIST)
    try:
        trusted = {
            sha256(each.public_bytes(Encoding.DER)).digest(): each.public_key()
            for each in x509.load_pem_x509_certificates(authorities)
        }
        found = [x509.load_pem_x509_crl(each + _END_OF_LIST) for each in lists]
    except ValueError as error:
        raise InvalidArgument(f"--tls-crl {path!r} holds no revocation list: {error}") from error
    signed = [(name, each) for each in found for name, key in trusted.items() if _has_signed(key, each)]
    ours = frozenset(name for name, _ in signed)
    if not ours:
        raise InvalidArgument(
            f"--tls-crl {path!r} holds no revocation list that an authority of --tls-ca has signed"
        )
    if rest.strip() or (listed & trusted.keys()) - ours:
        raise InvalidArgument(
            f"--tls-crl {path!r} is not whole: a revocation list is cut off or missing",
            hint="copy ca.crl once more",
        )
    return frozenset(one.serial_number for _, each in signed for one in each), ours


def as_ssl_has_it(pem: bytes) -> Mapping[str, Any]:
    """As much of what SSLSocket.getpeercert returns as is looked at here."""
    from cryptography import x509  # noqa: PLC0415 - a node without TLS starts without it

    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {"serialNumber": f"{certificate.serial_number:X}"}
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return {
        "serialNumber": f"{certificate.serial_number:X}",
        "subjectAltName": tuple(("URI", uri) for uri in uris),
    }


def _has_signed(key: Any, revocations: Any) -> bool:
    try:
        return bool(revocations.is_signature_valid(key))
    except (TypeError, ValueError):  # another kind of key
        return False


def _read(flag: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise InvalidArgument(f"{flag} {path!r} cannot be read: {error}") from error


def _read_key(path: str) -> bytes:
    """The key, which nobody but its owner may read."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise InvalidArgument(f"--tls-key {path!r} cannot be read: {error}") from error
    if found.st_uid not in {os.geteuid(), 0} or found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise InvalidArgument(
            f"--tls-key {path!r} is not trusted: it belongs to uid {found.st_uid}, mode {mode:04o}",
            hint="only its owner may read a key: `chmod 600` it",
        )
    return _read("--tls-key", path)


def file_mark(path: str) -> tuple[int, ...]:
    """What differs after the file was written or replaced, or became another's to read."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    whose = found.st_uid, found.st_gid, found.st_mode
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, *whose
