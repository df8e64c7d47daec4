"""A context token works for the key it was read from and nowhere else."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Actor, KeyspaceId
from ringmill.cluster.versions.context_token import ContextToken, decode_context, encode_context
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime

HOME = KeyspaceId(1, 0)
SEEN = ContextToken(VersionVector(((Actor("n1#1"), 5), (Actor("n2#4"), 9))), HybridTime(77))


def test_a_token_gives_back_what_was_seen() -> None:
    assert decode_context(encode_context(SEEN, HOME, b"k"), HOME, b"k") == SEEN


@pytest.mark.parametrize(
    ("keyspace", "key"), [(HOME, b"other"), (KeyspaceId(2, 0), b"k"), (KeyspaceId(1, 1), b"k")]
)
def test_a_token_is_refused_for_another_key_or_keyspace(keyspace: KeyspaceId, key: bytes) -> None:
    with pytest.raises(InvalidArgument, match="read from another key"):
        decode_context(encode_context(SEEN, HOME, b"k"), keyspace, key)


def test_every_damaged_or_cut_token_is_refused() -> None:
    token = encode_context(SEEN, HOME, b"k")
    for at in range(len(token)):
        with pytest.raises(InvalidArgument):
            decode_context(token[:at], HOME, b"k")
        with pytest.raises(InvalidArgument):
            decode_context(token[:at] + bytes([token[at] ^ 0x10]) + token[at + 1 :], HOME, b"k")


def test_a_dot_is_shown_as_actor_and_count() -> None:
    assert str(Dot(Actor("n1#1"), 5)) == "n1#1:5"
