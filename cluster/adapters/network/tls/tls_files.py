"""The certificates that this process shows and trusts: read from files, and again when these change.

A node has all of them, a client the authority's alone, or also its own.  They are looked at whenever a
connection is made, and read when a file differs from what was read last, so a new certificate or a longer
list of revoked ones needs no restart.  Files that cannot be used, as while they are being replaced, leave the
former ones in force, and the log says so once.

Connections that are open are not looked at again.  Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from ringmill.cluster.adapters.network.tls.certificate_names import Holder, holder_of
from ringmill.cluster.errors import InvalidArgument, PermissionDenied

__all__ = ["TlsFiles"]

_log = logging.getLogger(__name__)

_NOT_TRUSTED: Final = "only its owner may read a key: `chmod 600` it"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files held when they were read."""

    authorities: bytes
    chain: bytes  # our own certificate, b"" for a client without one
    key: bytes
    holder: Holder | None  # whom our certificate names
    revoked: frozenset[int]
    client: ssl.SSLContext
    server: ssl.SSLContext | None
    credentials: grpc.ChannelCredentials


class TlsFiles:
    """TLS as the files at these paths say; "" for none.

    Raises InvalidArgument, which names the flag, when they cannot be used at first.
    """

    def __init__(self, *, ca: str, cert: str = "", key: str = "", crl: str = "") -> None:
        self._ca, self._cert, self._key, self._crl = ca, cert, key, crl
        self._lock = threading.Lock()  # gRPC asks in a thread of its own
        self._looked_at = self._signature()
        self._now = self._load()

    def client_context(self) -> ssl.SSLContext:
        """What a dialler connects with."""
        return self._current().client

    def server_context(self) -> ssl.SSLContext:
        """What a connection is accepted with: the other side may show a certificate, which has to be good."""
        context = self._current().server
        assert context is not None, "only who has a certificate accepts connections"
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """What a gRPC channel is opened with."""
        return self._current().credentials

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a gRPC server listens with: it asks nobody for a certificate, as it could only ask all."""
        given = self._current()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            now = self._current()
            if now is given:
                return None
            given = now
            return _configuration(now)

        return grpc.dynamic_ssl_server_credentials(_configuration(given), fetch)

    def host_of(self, node: str) -> str:
        """The name in the certificate of a node of our cluster."""
        return Holder(self._own().cluster, node).host

    def check_is_for(self, node: str) -> None:
        """Raise InvalidArgument unless our own certificate is that of this node."""
        if self._own().name != node or not self._own().is_node:
            raise InvalidArgument(
                f"--tls-cert {self._cert!r} is the certificate of {self._own()}, and this node is {node}",
                hint=f"`ringmill ca issue {node}` makes one",
            )

    def check_node(self, certificate: Mapping[str, Any] | None, node: str) -> None:
        """Raise PermissionDenied unless a certificate that was verified is this node's.

        `certificate` as SSLSocket.getpeercert returns it; None or empty when none was shown.
        """
        if not certificate:
            raise PermissionDenied(
                f"{node} shows no certificate", hint="start it with --tls-cert and --tls-key"
            )
        holder = holder_of(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
        if holder != Holder(self._own().cluster, node):
            told = "none of ours" if holder is None else holder.uri
            raise PermissionDenied(
                f"{node} shows a certificate for another: {told}",
                hint=f"`ringmill ca issue {node}` makes one",
            )
        self.check_revoked(certificate, node)

    def check_revoked(self, certificate: Mapping[str, Any], whose: str) -> None:
        """Raise PermissionDenied for a certificate on the list of --tls-crl."""
        serial = str(certificate.get("serialNumber", "0"))
        if int(serial, 16) in self._current().revoked:
            raise PermissionDenied(
                f"{whose} shows a certificate that was revoked: serial {serial.lower()}",
                hint="`ringmill ca issue --replace` makes a new one",
            )

    def _own(self) -> Holder:
        holder = self._now.holder
        assert holder is not None, "a node has a certificate that names it"
        return holder

    def _current(self) -> _Loaded:
        with self._lock:
            signature = self._signature()
            if signature != self._looked_at:
                self._looked_at = signature
                try:
                    self._now = self._load_again()
                    _log.info("the certificates were read again: %s", self._ca)
                except InvalidArgument as error:
                    _log.warning("the former certificates stay in force: %s", error)
            return self._now

    def _signature(self) -> tuple[object, ...]:
        """What differs after a file was written or replaced."""
        return tuple(_mark(path) for path in (self._ca, self._cert, self._key, self._crl) if path)

    def _load_again(self) -> _Loaded:
        loaded = self._load()
        if loaded.holder != self._now.holder:
            raise InvalidArgument(f"--tls-cert {self._cert!r} is for {loaded.holder} now")
        return loaded

    def _load(self) -> _Loaded:
        """Raises InvalidArgument."""
        authorities = _read("--tls-ca", self._ca)
        chain = _read("--tls-cert", self._cert) if self._cert else b""
        key = _read_key(self._key) if self._key else b""
        client = self._context(ssl.PROTOCOL_TLS_CLIENT, authorities)
        server = None
        if chain:
            server = self._context(ssl.PROTOCOL_TLS_SERVER, authorities)
            server.verify_mode = ssl.CERT_OPTIONAL
            server.num_tickets = 0  # no session is resumed
        return _Loaded(
            authorities=authorities,
            chain=chain,
            key=key,
            holder=self._holder(chain) if chain else None,
            revoked=self._revoked(authorities) if self._crl else frozenset(),
            client=client,
            server=server,
            credentials=grpc.ssl_channel_credentials(authorities, key or None, chain or None),
        )

    def _context(self, kind: int, authorities: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(kind)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise InvalidArgument(f"--tls-ca {self._ca!r} holds no certificate: {error}") from error
        if self._cert:
            try:
                context.load_cert_chain(self._cert, self._key)
            except (OSError, ValueError) as error:  # an SSLError is an OSError
                raise InvalidArgument(
                    f"--tls-cert {self._cert!r} and --tls-key {self._key!r} cannot be used together: {error}"
                ) from error
        return context

    def _holder(self, chain: bytes) -> Holder:
        from cryptography import x509  # noqa: PLC0415 - a node without TLS starts without it

        try:
            names = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
            holder = holder_of(names.value.get_values_for_type(x509.UniformResourceIdentifier))
        except (ValueError, x509.ExtensionNotFound):
            holder = None
        if holder is None:
            raise InvalidArgument(
                f"--tls-cert {self._cert!r} names no node and no client of a cluster",
                hint="certificates are made by `ringmill ca issue`",
            )
        return holder

    def _revoked(self, authorities: bytes) -> frozenset[int]:
        """The serial numbers on the lists that an authority of ours has signed."""
        from cryptography import x509  # noqa: PLC0415 - a node without TLS starts without it

        lists = _read("--tls-crl", self._crl)
        end = b"-----END X509 CRL-----"
        revoked: list[int] = []
        try:
            trusted = [each.public_key() for each in x509.load_pem_x509_certificates(authorities)]
            found = [x509.load_pem_x509_crl(each + end) for each in lists.split(end)[:-1]]
        except ValueError as error:
            raise InvalidArgument(f"--tls-crl {self._crl!r} holds no revocation list: {error}") from error
        ours = [each for each in found if any(_has_signed(key, each) for key in trusted)]
        if not ours:
            raise InvalidArgument(
                f"--tls-crl {self._crl!r} holds no revocation list that an authority of --tls-ca has signed"
            )
        for each in ours:
            revoked += [one.serial_number for one in each]
        return frozenset(revoked)


def _has_signed(key: Any, revocations: Any) -> bool:
    try:
        return bool(revocations.is_signature_valid(key))
    except (TypeError, ValueError):  # another kind of key
        return False


def _configuration(loaded: _Loaded) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(loaded.key, loaded.chain)], root_certificates=loaded.authorities
    )


def _read(flag: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise InvalidArgument(f"{flag} {path!r} cannot be read: {error}") from error


def _read_key(path: str) -> bytes:
    """The key, which nobody else may read; group root's rights are root's."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise InvalidArgument(f"--tls-key {path!r} cannot be read: {error}") from error
    if found.st_uid not in {os.geteuid(), 0} or found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise InvalidArgument(
            f"--tls-key {path!r} is not trusted: it belongs to uid {found.st_uid}, mode {mode:04o}",
            hint=_NOT_TRUSTED,
        )
    return _read("--tls-key", path)


def _mark(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
