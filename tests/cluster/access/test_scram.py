"""Keys and proofs in the manner of SCRAM: who keeps the keys can check, and cannot act as the client."""

from __future__ import annotations

from base64 import b64decode
from hashlib import pbkdf2_hmac

import pytest

from ringmill.cluster.access.client_token import ClientToken, client_token
from ringmill.cluster.access.roles import ADMIN, NOBODY, ROLES, includes
from ringmill.cluster.access.scram import client_key, client_proof, is_client_proof, kept_keys
from ringmill.cluster.errors import InvalidArgument

SECRET = bytes(range(32))
ROUND = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"


def test_the_example_of_rfc_7677_comes_out() -> None:
    """There the secret is a stretched password; all that follows is the same."""
    salted = pbkdf2_hmac("sha256", b"pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    message = (
        f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={ROUND},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={ROUND}"
    ).encode()
    proof = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    assert client_proof(salted, message) == proof
    assert kept_keys(salted).signature(message) == b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert is_client_proof(proof, kept_keys(salted), message)


def test_a_proof_is_for_one_secret_and_one_message() -> None:
    keys, proof = kept_keys(SECRET), client_proof(SECRET, b"this")
    assert is_client_proof(proof, keys, b"this")
    assert not is_client_proof(proof, keys, b"that")
    assert not is_client_proof(proof, kept_keys(SECRET[::-1]), b"this")
    for given in (b"", proof[:-1], proof + b"\0", bytes(32), bytes([*proof[:-1], proof[-1] ^ 1])):
        assert not is_client_proof(given, keys, b"this")


def test_what_is_kept_is_not_enough_to_act_as_the_client() -> None:
    """A secret made of any kept key makes no proof that holds, and no kept key is the client's."""
    keys = kept_keys(SECRET)
    for key in keys:
        assert not is_client_proof(client_proof(key, b"this"), keys, b"this")
        assert not is_client_proof(key, keys, b"this")
    assert client_key(SECRET) not in keys
    assert not is_client_proof(keys.signature(b"this"), keys, b"this")


def test_each_role_includes_those_before_it() -> None:
    for rank, role in enumerate(ROLES):
        assert [includes(role, other) for other in ROLES] == [at <= rank for at in range(len(ROLES))]
        assert includes(role, NOBODY) and not includes(NOBODY, role)
    assert ROLES[-1] == ADMIN


def test_a_token_is_read_as_it_was_printed() -> None:
    token = ClientToken("0123456789abcdef", SECRET)
    assert client_token(token.text) == token
    assert client_token("the-clusters") is None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "0", lambda t: t.upper().replace("RM", "rm")]
)
def test_a_damaged_token_is_refused_and_not_shown(change: object) -> None:
    assert callable(change)
    damaged = change(ClientToken("0123456789abcdef", SECRET).text)
    with pytest.raises(InvalidArgument, match="damaged") as refused:
        client_token(damaged)
    assert SECRET.hex()[:8] not in f"{refused.value}{refused.value.hint}"
