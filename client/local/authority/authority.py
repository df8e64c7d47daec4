"""A cluster's certificate authority: makes it, issues and revokes certificates, and changes its key.

`ringmill ca` (client/cli/ca_verbs.py) and `ringmill cluster up --tls` call this.  A key is changed in two
steps: `rotate` signs with a new one while both are trusted, `finish` stops trusting the former one.  In
between every node gets the new bundle, then a certificate that the new key has signed, so that at no moment
two nodes lack a common authority.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ringmill.client.local.authority.authority_files import AuthorityFolder, Issued
from ringmill.client.local.authority.certificates import (
    fingerprint,
    make_authority,
    make_certificate,
    make_revocations,
    pem_key,
)
from ringmill.cluster.adapters.network.tls.certificate_names import CLUSTER_NAME, Holder
from ringmill.cluster.errors import Conflict, CorruptData, InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    Signer = tuple[x509.Certificate, EllipticCurvePrivateKey]

__all__ = ["MOST_DAYS", "Authority", "Shown", "check_cluster_name"]

MOST_DAYS: Final = 3650
_NODE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_CLIENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]{1,63})*")
_SERIAL: Final = re.compile(r"[0-9a-f]{8,40}")


@dataclass(frozen=True, slots=True)
class Shown:
    """One row of `ringmill ca show`.  `until` in seconds since 1970."""

    name: str
    state: str  # "signs", "trusted"; of what was issued "valid", "expired", "revoked", "former authority"
    days_left: int
    serial: str
    fingerprint: str
    hosts: Sequence[str] = ()


class Authority:
    """The authority in a folder.  Each method reads and writes it; one command at a time may write."""

    def __init__(self, folder: str) -> None:
        self.files = AuthorityFolder(folder)

    def init(self, cluster: str) -> None:
        """Make the authority of a cluster.  Raises InvalidArgument, Conflict when there is one."""
        check_cluster_name("--name", cluster)
        self.files.make()
        with self.files.alone():
            self.files.make()  # nobody else has made one meanwhile
            certificate, key = make_authority(cluster, _now())
            self.files.write_new(self.files.authority_key(_identity(certificate)), pem_key(key))
            self.files.write_issued([])
            self._write_revocations([(certificate, key)], [])
            self.files.replace(self.files.bundle, _pem(certificate))

    @property
    def cluster(self) -> str:
        """The name of the cluster that the certificates are for."""
        from cryptography.x509.oid import NameOID

        return str(self._trusted()[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = (),
        *,
        days: int = 365,
        is_node: bool = True,
        replace: bool = False,
    ) -> Issued:
        """Write a certificate and its key; `hosts` are names and addresses, with or without a port.

        With `replace` the present one of that name makes room, and its hosts are kept when none are given; so
        does what an interrupted call has left, a key without the certificate that goes with it.
        Raises InvalidArgument, which names the flag; Conflict when there is one and `replace` is not given.
        """
        _check_holder(name, days, is_node=is_node)
        with self.files.alone():
            issued = self.files.issued()
            holder = Holder(self.cluster, name, is_node)
            replace = replace or not self.is_whole(str(holder))
            if not replace and self.files.has(self.files.key(str(holder))):
                raise Conflict(
                    f"{self.files.key(str(holder))} is there already", hint="move it away, or use --replace"
                )
            before = [each for each in issued if each.name == str(holder)]
            wanted = [_host(each) for each in hosts] or (before[-1].hosts if before and replace else [])
            if is_node and not wanted:
                raise InvalidArgument(
                    f"--address is missing: the certificate of {name} has to name the host that clients dial",
                    hint=f"ringmill ca issue {name} {self.files.option} --address HOST:PORT",
                )
            signer = self._signer()
            certificate, key = make_certificate(holder, wanted, days, signer, _now())
            one = Issued(
                serial=f"{certificate.serial_number:x}",
                name=str(holder),
                authority=_identity(signer[0]),
                until=certificate.not_valid_after_utc.timestamp(),
                fingerprint=fingerprint(certificate),
                hosts=list(wanted),
            )
            # An end between the key and the certificate leaves two that do not fit; then this is done again.
            # The serial is noted before the certificate is there: what exists can be revoked.
            self.files.write_issued([*issued, one])
            self.files.replace(self.files.key(one.name), pem_key(key))
            self.files.replace(self.files.certificate(one.name), _pem(certificate))
        return one

    def is_whole(self, name: str) -> bool:
        """Whether a node, or "client/NAME", has a key and a certificate that belong together, as far as they
        can be read here."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            certificate = x509.load_pem_x509_certificate(self.files.read(self.files.certificate(name)))
            key = load_pem_private_key(self.files.read(self.files.key(name)), None)
        except (PermissionDenied, TypeError):  # others can write it, or it has a password
            return True
        except (NotFound, ValueError):
            return False
        return key.public_key() == certificate.public_key()

    def revoke(self, asked: str) -> list[Issued]:
        """Revoke the certificate with a serial number, or all of a node or of "client/NAME".

        Returns those that were not revoked before.  Raises NotFound.
        """
        with self.files.alone():
            issued = self.files.issued()
            is_serial = _SERIAL.fullmatch(asked.lower()) is not None
            named = {each.serial for each in issued if each.name == asked}
            serials = named or ({asked.lower().lstrip("0")} if is_serial else set())
            chosen = [each for each in issued if each.serial in serials]
            if not chosen:
                raise NotFound(
                    f"no certificate with the serial or of the name {asked!r} was issued",
                    hint=f"`ringmill ca show {self.files.option}` lists them",
                )
            now = _now().timestamp()
            after = [
                replace(each, revoked=each.revoked or now) if each in chosen else each for each in issued
            ]
            self.files.write_issued(after)
            self._write_revocations(self._signers(), after)
        return [each for each in chosen if not each.revoked]

    def rotate(self) -> str:
        """Sign with a new key from now on, and trust both.  Returns the id of the new authority.

        Raises Conflict while a rotation is under way.
        """
        with self.files.alone():
            cluster, signers = self.cluster, self._signers()
            if len(signers) > 1:
                raise Conflict(
                    f"--dir {self.files.path} is within a rotation: two authorities are trusted",
                    hint=f"`ringmill ca rotate {self.files.option} --finish` ends it once every node has a "
                    "new certificate",
                )
            fresh = make_authority(cluster, _now())
            self.files.write_new(self.files.authority_key(_identity(fresh[0])), pem_key(fresh[1]))
            signers = [fresh, *signers]
            self._write_revocations(signers, self.files.issued())
            self.files.replace(self.files.bundle, b"".join(_pem(each) for each, _ in signers))
        return _identity(fresh[0])

    def finish(self) -> list[str]:
        """End a rotation: trust the new authority alone, and remove the former key; also one that was left by
        an end that was interrupted.

        Returns the ids of the former ones.  Raises Conflict when there is no rotation, and when certificates
        of the former one are the newest of their names.
        """
        with self.files.alone():
            signers, issued = self._signers(), self.files.issued()
            ours, now = _identity(signers[0][0]), _now().timestamp()
            former = [each for each in self.files.authority_keys() if each != ours]
            if len(signers) == 1 and not former:
                raise Conflict(f"--dir {self.files.path} is within no rotation: one authority is trusted")
            newest = {each.name: each for each in issued if not each.revoked}.values()
            left = [each.name for each in newest if each.authority != ours and each.until > now]
            if left:
                raise Conflict(
                    f"{', '.join(left)}: no certificate of the new authority was issued yet",
                    hint=f"`ringmill ca issue NAME {self.files.option} --replace` issues one, `ringmill ca "
                    f"revoke NAME {self.files.option}` drops it",
                )
            self.files.replace(self.files.bundle, _pem(signers[0][0]))
            self._write_revocations(signers[:1], issued)
            for identity in former:
                self.files.remove(self.files.authority_key(identity))
        return former

    def show(self) -> list[Shown]:
        """The authorities, the one that signs first, then all that was issued."""
        now = _now()
        trusted = self._trusted()
        rows = [
            Shown(
                name=f"authority {_identity(each)}",
                state="trusted" if index else "signs",
                days_left=(each.not_valid_after_utc - now).days,
                serial=f"{each.serial_number:x}",
                fingerprint=fingerprint(each),
            )
            for index, each in enumerate(trusted)
        ]
        known = {_identity(each) for each in trusted}
        for one in self.files.issued():
            state = "valid" if one.authority in known else "former authority"
            state = "expired" if one.until <= now.timestamp() else state
            days_left = int((one.until - now.timestamp()) // 86_400)
            state = "revoked" if one.revoked else state
            rows.append(Shown(one.name, state, days_left, one.serial, one.fingerprint, one.hosts))
        return rows

    def _trusted(self) -> list[x509.Certificate]:
        """The certificates of the authorities, the one that signs first."""
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificates(self.files.read(self.files.bundle))
        except ValueError as error:
            raise CorruptData(f"{self.files.bundle} holds no certificate: {error}") from error

    def _signer(self) -> Signer:
        return self._with_key(self._trusted()[0])

    def _signers(self) -> list[Signer]:
        return [self._with_key(each) for each in self._trusted()]

    def _with_key(self, certificate: x509.Certificate) -> Signer:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = self.files.authority_key(_identity(certificate))
        try:
            key = load_pem_private_key(self.files.read(path), None)
        except (ValueError, TypeError) as error:
            raise CorruptData(f"{path} holds no key: {error}") from error
        if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise CorruptData(f"{path} is not the key of the authority in {self.files.bundle}")
        return certificate, key

    def _write_revocations(self, signers: Sequence[Signer], issued: Sequence[Issued]) -> None:
        """Write the lists.  Certificates of a former authority are on the list of the one that signs: nobody
        takes them any more, but connections may be open that were made by them."""
        known = [_identity(certificate) for certificate, _ in signers]
        lists = []
        for signer, identity in zip(signers, known, strict=True):
            revoked = [
                (int(each.serial, 16), datetime.fromtimestamp(each.revoked, UTC))
                for each in issued
                if each.revoked and (each.authority if each.authority in known else known[0]) == identity
            ]
            lists.append(make_revocations(revoked, signer, _now()))
        self.files.replace(self.files.revocations, b"".join(lists))


def check_cluster_name(flag: str, name: str) -> None:
    """Raise InvalidArgument for a name that cannot stand in the names of certificates."""
    if not CLUSTER_NAME.fullmatch(name):
        raise InvalidArgument(
            f"{flag} {name[:80]!r} cannot stand in a certificate: need 1 to 32 of a-z, 0-9 and -, "
            "the first and the last no -"
        )


def _check_holder(name: str, days: int, *, is_node: bool) -> None:
    if is_node and not _NODE.fullmatch(name):
        raise InvalidArgument(f"NODE {name[:80]!r}: a lower-case letter, then up to 31 of a-z, 0-9 and -")
    if not is_node and not _CLIENT.fullmatch(name):
        raise InvalidArgument(
            f"--client {name[:80]!r}: up to 64 of A-Z a-z 0-9 . _ -, first a letter or digit"
        )
    if not 1 <= days <= MOST_DAYS:
        raise InvalidArgument(f"--days {days}: 1 to {MOST_DAYS}")


def _host(address: str) -> str:
    """The host of "host", "host:port", "[IPv6]:port" or an IPv6 address.  Raises InvalidArgument."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or (":" in host and not host.startswith("[")):
        host, port = address, "1"  # there is no port
    host = host.removeprefix("[").removesuffix("]")
    try:
        host = str(ip_address(host))
        is_host = True
    except ValueError:
        is_host = _HOST.fullmatch(host) is not None and not re.fullmatch(r"[\d.]+", host)
    if not is_host or not 0 < int(port) < 65_536:
        raise InvalidArgument(f"--address {address[:80]!r} is not a host, host:port or IP address")
    return host


def _identity(certificate: x509.Certificate) -> str:
    return fingerprint(certificate)[:8]


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _now() -> datetime:
    return datetime.now(UTC)
