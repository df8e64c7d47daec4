"""Proofs that both sides know a secret which only one of them keeps, in the manner of SCRAM (RFC 5802).

Who keeps the secret makes a client key from it.  The other side keeps two keys: the stored key, which is the
hash of the client key, and the server key.  A client's proof is its client key, masked by a signature of the
message under the stored key.  So whoever has the stored key can check a proof, and cannot make one.  The
server key signs what the other side shows in return.

RFC 5802 derives both keys from a password by a salt and many iterations, which make guessing slow.  The
secret here has 256 random bits and cannot be guessed, so it is used as it is, without iterations.

One thing is as in SCRAM: who has the stored key and also sees a proof can work out the client key.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final, NamedTuple

__all__ = [
    "KEY_BYTES",
    "SECRET_BYTES",
    "KeptKeys",
    "client_key",
    "client_proof",
    "is_client_proof",
    "kept_keys",
]

SECRET_BYTES: Final = 32
KEY_BYTES: Final = 32
_HASH: Final = "sha256"


class KeptKeys(NamedTuple):
    """What the side keeps that does not know the secret."""

    stored: bytes
    server: bytes

    def signature(self, message: bytes) -> bytes:
        """What the side that has these keys shows: that it has the server key."""
        return hmac.digest(self.server, message, _HASH)


def client_key(secret: bytes) -> bytes:
    return hmac.digest(secret, b"Client Key", _HASH)


def kept_keys(secret: bytes) -> KeptKeys:
    """The keys that are kept of a secret."""
    return KeptKeys(sha256(client_key(secret)).digest(), hmac.digest(secret, b"Server Key", _HASH))


def client_proof(secret: bytes, message: bytes) -> bytes:
    """What the side that knows the secret shows for this message."""
    return _masked(client_key(secret), kept_keys(secret).stored, message)


def is_client_proof(given: bytes, keys: KeptKeys, message: bytes) -> bool:
    """Whether who gave this knows the secret."""
    if len(given) != KEY_BYTES:
        return False
    return hmac.compare_digest(sha256(_masked(given, keys.stored, message)).digest(), keys.stored)


def _masked(key: bytes, stored: bytes, message: bytes) -> bytes:
    """A client key or a proof with the mask of this message put on, or taken off."""
    mask = hmac.digest(stored, message, _HASH)
    return (int.from_bytes(key, "big") ^ int.from_bytes(mask, "big")).to_bytes(KEY_BYTES, "big")
