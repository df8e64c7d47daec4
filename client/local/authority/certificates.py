"""Makes and signs X.509 certificates: of an authority, of nodes and clients, and lists of revoked ones.

Keys are ECDSA on P-256.  All functions are pure but for the keys and serial numbers, which `cryptography`
draws.  It is imported within the functions, since only the verbs of `ringmill ca` need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ringmill.cluster.adapters.network.tls.certificate_names import Holder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = [
    "AUTHORITY_DAYS",
    "fingerprint",
    "make_authority",
    "make_certificate",
    "make_revocations",
    "pem_key",
]

AUTHORITY_DAYS: Final = 3650
_SKEW: Final = timedelta(hours=1)  # clocks of machines differ: a new certificate is valid at once everywhere


def make_authority(cluster: str, now: datetime) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """A certificate that signs others of the cluster, for ten years, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    known_by = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ringmill"),
            x509.NameAttribute(
                NameOID.ORGANIZATIONAL_UNIT_NAME, known_by.digest.hex()[:8]
            ),  # two may be trusted
            x509.NameAttribute(NameOID.COMMON_NAME, cluster),
        ]
    )
    usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(known_by, critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def make_certificate(
    holder: Holder,
    hosts: Sequence[str],
    days: int,
    authority: tuple[x509.Certificate, EllipticCurvePrivateKey],
    now: datetime,
) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """A certificate of a node at `hosts` (names or IP addresses), or of a client, and its key.

    It is valid for `days`, but no longer than that of the authority.  A client's is none of a server.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    signer, signing_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(holder.uri)]
    if holder.is_node:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names += [x509.DNSName(holder.host), *map(_host_name, hosts)]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, holder.cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, str(holder)),
        ]
    )
    until = min(now + timedelta(days=days), signer.not_valid_after_utc)
    signer_id = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(signer.subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(**{name: name == "digital_signature" for name in _USAGES}), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer_id), critical=False
        )
    )
    return builder.sign(signing_key, hashes.SHA256()), key


def make_revocations(
    revoked: Sequence[tuple[int, datetime]],
    authority: tuple[x509.Certificate, EllipticCurvePrivateKey],
    now: datetime,
) -> bytes:
    """The list of the serial numbers that this authority has revoked, as PEM.

    It is valid as long as the authority: a list that runs out would stop a cluster that nobody looks after.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    signer, key = authority
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.subject)
        .last_update(now)
        .next_update(max(signer.not_valid_after_utc, now + timedelta(days=1)))
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
    )
    for serial, when in revoked:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
        builder = builder.add_revoked_certificate(one)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def pem_key(key: EllipticCurvePrivateKey) -> bytes:
    """The key as PEM, not encrypted: the mode of its file protects it."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, hexadecimal, as `openssl x509 -fingerprint -sha256` has it."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()


def _host_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


_USAGES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
