"""The certificates that this process shows and trusts: read from files, and again when these change.

A node has all of them, a client the authority's alone, or also its own.  They are looked at whenever a
connection is made, and read when a file differs from what was read last, so a new certificate or a longer
list of revoked ones needs no restart.  Files that cannot be used, as while they are being replaced, leave the
former ones in force, and the log says so once.  What the system could not read, as for want of descriptors,
is read again some seconds later.

A running process says each day that its certificate ends soon.  A socket that is open is ended within some
seconds when the certificate of its other side is revoked.
Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import grpc

from ringmill.cluster.adapters.network.tls.certificate_loading import (
    CertificatePaths,
    Loaded,
    as_ssl_has_it,
    file_mark,
    load,
    tls_context,
)
from ringmill.cluster.adapters.network.tls.certificate_names import Holder, holder_of
from ringmill.cluster.errors import InvalidArgument, PermissionDenied

__all__ = ["TlsFiles"]

_log = logging.getLogger(__name__)

End: TypeAlias = Callable[[PermissionDenied], None]
LOOK_EVERY_S: Final = 5.0
_DAY_S: Final = 86_400.0
_SOON_S: Final = 30 * _DAY_S
_SHOW: Final = "`ringmill ca issue --client NAME` makes one: --tls-cert and --tls-key (tls_cert=, tls_key=)"
_MOST_PEMS: Final = 1024  # certificates of callers that are remembered, as reading one takes a while


class TlsFiles:
    """TLS as the files at these paths say; "" for none.

    Raises InvalidArgument, which names the flag, when they cannot be used at first.
    """

    def __init__(
        self, *, ca: str, cert: str = "", key: str = "", crl: str = "", demands: bool = False
    ) -> None:
        """`demands`: a client has to show a certificate of ours, too."""
        self.demands = demands
        self._open: dict[int, tuple[Mapping[str, Any], str, End]] = {}
        self._numbers = itertools.count()
        self._read_pems: dict[bytes, Mapping[str, Any]] = {}
        self._paths = CertificatePaths(ca, cert, key, crl)
        self._lock = threading.Lock()  # gRPC asks in a thread of its own
        self._looked_at = self._signature()
        self._again_at = math.inf  # files that differ in nothing are read again, as they could not be read
        self._told = ""
        self._now = load(self._paths, demands=demands)
        self._ending_told_at = -math.inf
        self._tell_of_end()

    @property
    def ends_at(self) -> float | None:
        """When our own certificate ends, in seconds since 1970."""
        return self._now.ends_at

    def client_context(self) -> ssl.SSLContext:
        """What a dialler connects with."""
        return self._current().client

    def grpc_context(self) -> ssl.SSLContext:
        """What a dialler of a gRPC port connects with: gRPC wants its protocol named."""
        context = tls_context(self._paths, ssl.PROTOCOL_TLS_CLIENT, self._current().authorities)
        context.set_alpn_protocols(["h2"])
        return context

    @property
    def shows(self) -> bool:
        """Whether there is a certificate of our own."""
        return bool(self._paths.cert)

    def server_context(self) -> ssl.SSLContext:
        """What a connection is accepted with: the other side may show a certificate, which has to be good."""
        context = self._current().server
        assert context is not None, "only who has a certificate accepts connections"
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """What a gRPC channel is opened with."""
        return self._current().credentials

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a gRPC server listens with: it asks all for a certificate, or nobody, and cannot do else."""
        given = self._current()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            now = self._current()
            if now is given:
                return None
            given = now
            return _configuration(now)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given), fetch, require_client_authentication=self.demands
        )

    def host_of(self, node: str) -> str:
        """The name in the certificate of a node of our cluster."""
        return Holder(self._own().cluster, node).host

    def check_is_for(self, node: str) -> None:
        """Raise InvalidArgument unless our own certificate is that of this node."""
        own = self._own()
        if own.name != node or not own.is_node:
            raise InvalidArgument(
                f"--tls-cert {self._paths.cert!r} is the certificate of {own}, and this node is {node}",
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
        holder = _holder_in(certificate)
        if holder != Holder(self._own().cluster, node):
            shown = "none of ours" if holder is None else holder.uri
            raise PermissionDenied(
                f"{node} shows a certificate for another: {shown}",
                hint=f"`ringmill ca issue {node}` makes one",
            )
        self._check_revoked(certificate, node)

    def check_client(self, certificate: Mapping[str, Any] | None) -> None:
        """Raise PermissionDenied for the certificate of a client, or a node, that is another cluster's or
        revoked, and for none when one is demanded."""
        if not certificate:
            if self.demands:
                raise PermissionDenied("a client shows no certificate", hint=_SHOW)
            return
        holder = _holder_in(certificate)
        if holder is None or holder.cluster != self._own().cluster:
            raise PermissionDenied("a client shows a certificate of no cluster or another one", hint=_SHOW)
        self._check_revoked(certificate, str(holder))

    def check_pem(self, shown: bytes) -> None:
        """Check the certificate of a client, given as PEM by gRPC, which has verified it.

        Raises PermissionDenied.
        """
        certificate = self._read_pems.get(shown)
        if certificate is None:
            if len(self._read_pems) >= _MOST_PEMS:
                self._read_pems.clear()
            certificate = self._read_pems[shown] = as_ssl_has_it(shown) if shown else {}
        self.check_client(certificate)

    def note_open(self, certificate: Mapping[str, Any] | None, whose: str, end: End) -> Callable[[], None]:
        """Have `end` called when the certificate of an open connection is revoked.

        Calling what is returned ends that.
        """
        number = next(self._numbers)

        def forget() -> None:
            self._open.pop(number, None)

        if certificate:
            self._open[number] = (certificate, whose, end)
        return forget

    def look(self) -> None:
        """Read files that have changed, and end open connections whose certificates are revoked now."""
        self._current()
        self._tell_of_end()
        messages: dict[str, None] = {}
        for certificate, whose, end in list(self._open.values()):
            try:
                self._check_revoked(certificate, whose)
            except PermissionDenied as error:
                messages.setdefault(error.message)
                end(error)
        for message in messages:
            _log.warning("%s: its connections are ended", message)

    async def run(self) -> None:
        """Look every now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def _tell_of_end(self) -> None:
        """A line in the log, once a day, while our certificate has ended or ends soon."""
        now = time.time()
        left_s = math.inf if self._now.ends_at is None else self._now.ends_at - now
        if left_s >= _SOON_S or abs(now - self._ending_told_at) < _DAY_S:
            return
        self._ending_told_at = now
        path, days = self._paths.cert, math.floor(left_s / _DAY_S)
        if days < 0:
            _log.error(
                "--tls-cert %r has ended, nobody accepts it: `ringmill ca issue NODE --dir DIR --replace`",
                path,
            )
        else:
            _log.warning(
                "--tls-cert %r ends in %d days: `ringmill ca issue NODE --dir DIR --replace`", path, days
            )

    def _check_revoked(self, certificate: Mapping[str, Any], whose: str) -> None:
        """Raise PermissionDenied for a certificate on the list of --tls-crl."""
        serial = str(certificate.get("serialNumber", "0"))
        if int(serial, 16) in self._current().revoked:
            raise PermissionDenied(
                f"{whose} shows a certificate that was revoked: serial {serial.lower()}",
                hint="`ringmill ca issue NODE --dir DIR --replace` makes a new one",
            )

    def _own(self) -> Holder:
        holder = self._now.holder
        assert holder is not None, "a node has a certificate that names it"
        return holder

    def _current(self) -> Loaded:
        with self._lock:
            signature = self._signature()
            if signature != self._looked_at or time.monotonic() >= self._again_at:
                if signature != self._looked_at:
                    self._told = ""
                self._looked_at, self._again_at = signature, math.inf
                self._read_again()
            return self._now

    def _read_again(self) -> None:
        try:
            self._now = self._load_again()
        except InvalidArgument as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, ssl.SSLError):
                self._again_at = time.monotonic() + LOOK_EVERY_S
            if error.message != self._told:
                _log.warning("the former certificates stay in force: %s", error)
            self._told = error.message
        else:
            _log.info("the certificates were read again: %s", self._paths.ca)
            self._ending_told_at = -math.inf
            self._tell_of_end()

    def _signature(self) -> tuple[object, ...]:
        """What differs after a file was written or replaced, or became another's to read."""
        return tuple(file_mark(path) for path in self._paths if path)

    def _load_again(self) -> Loaded:
        loaded = load(self._paths, demands=self.demands, listed=self._now.listed)
        if loaded.holder != self._now.holder:
            raise InvalidArgument(f"--tls-cert {self._paths.cert!r} is for {loaded.holder} now")
        return loaded


def _holder_in(certificate: Mapping[str, Any]) -> Holder | None:
    return holder_of(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")


def _configuration(loaded: Loaded) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(loaded.key, loaded.chain)], root_certificates=loaded.authorities
    )
