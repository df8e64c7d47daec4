"""Join tokens as text and as bytes: what was made is read again, and nothing else is."""

from __future__ import annotations

from zlib import crc32

import msgpack
import pytest

from ringmill.cluster.errors import InvalidArgument, PermissionDenied, Unavailable
from ringmill.cluster.ids import ClusterId, DiskId, NodeId
from ringmill.cluster.ring.topology import Member
from ringmill.cluster.wire.join_tokens import JOIN_NONCE_BYTES, JoinGrant, JoinToken

GRANT = JoinGrant(ClusterId("c" * 32), NodeId("n4"), 2_000_000_000, b"s" * 16)
TOKEN = GRANT.token("secret")
NONCE = b"n" * JOIN_NONCE_BYTES
MEMBER = Member(NodeId("n4"), DiskId("4" * 32), "db4.example:7101", zone="east")


def test_a_token_is_read_as_it_was_made_and_shows_no_key() -> None:
    assert JoinToken.parse(TOKEN.text) == TOKEN
    assert TOKEN.key.hex() not in repr(TOKEN) and TOKEN.text not in repr(TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rj1_",
        "n4",
        TOKEN.text[4:],
        TOKEN.text[:-1],
        TOKEN.text + "A",
        TOKEN.text.replace(".", ""),
        "rj1_é.A",
    ],
)
def test_a_text_that_was_cut_or_changed_is_not_a_token(text: str) -> None:
    with pytest.raises(InvalidArgument):
        JoinToken.parse(text)
    with pytest.raises(InvalidArgument):
        JoinGrant.decode(TOKEN.grant.encode()[:-1])


def test_a_grant_that_is_written_in_other_bytes_is_the_same_token() -> None:
    """Who has a token can write its grant anew, and the key that goes with it is still the right one."""
    fields = msgpack.packb([GRANT.cluster, GRANT.node]) + b"\xcf" + GRANT.expires_s.to_bytes(8, "big")
    body = b"\x01\x94" + fields[1:] + msgpack.packb(GRANT.salt)
    other = JoinGrant.decode(body + crc32(body).to_bytes(4, "big"))
    assert body[:-4] not in GRANT.encode()
    assert (other.used, other.token("secret")) == (GRANT.used, TOKEN)
    assert JoinGrant(GRANT.cluster, GRANT.node, GRANT.expires_s, b"t" * 16).used.id != GRANT.used.id


def test_the_secret_is_opened_by_whoever_has_the_key_and_asked_for_it() -> None:
    for secret in ("s", "secret" * 170):
        sealed = TOKEN.seal(secret, NONCE, b"1" * JOIN_NONCE_BYTES)
        assert TOKEN.open(sealed, NONCE) == secret
        assert secret.encode() not in sealed
        for other in (JoinToken(GRANT, b"k" * 32), GRANT.token("guessed")):
            with pytest.raises(Unavailable, match="did not prove to be a member"):
                other.open(sealed, NONCE)
        for changed in (b"", sealed[:-1], sealed[:20] + b"\0" + sealed[21:], sealed[16:]):
            with pytest.raises(Unavailable):
                TOKEN.open(changed, NONCE)
        with pytest.raises(Unavailable):
            TOKEN.open(sealed, b"m" * JOIN_NONCE_BYTES)


def test_a_proof_is_for_one_nonce_and_one_member() -> None:
    proof = TOKEN.request_proof(NONCE, MEMBER)
    TOKEN.check_request(proof, NONCE, MEMBER)
    elsewhere = Member(NodeId("n4"), DiskId("4" * 32), "evil.example:7101", zone="east")
    for nonce, member in ((b"m" * 16, MEMBER), (NONCE, elsewhere), (NONCE[:-1], MEMBER)):
        with pytest.raises(PermissionDenied, match="was not made with the secret"):
            TOKEN.check_request(proof, nonce, member)
