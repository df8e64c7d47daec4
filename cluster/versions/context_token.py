"""The context token: a reader passes it back with its write, without looking into it.

A token is bound to the key it was read from.  With another key it would cover writes that its holder never
saw, and these would be lost, so it is refused there (rule V1).  Layout: docs/formats/context_token.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack
from xxhash import xxh3_64_digest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId, keyspace_bytes
from ringmill.cluster.limits import MAX_CONTEXT_ACTORS, MAX_CONTEXT_BYTES
from ringmill.cluster.versions.dots import EMPTY_VECTOR, VersionVector
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.object_codec import decode_vector

__all__ = [
    "BLIND", "FORMAT_VERSION", "ContextToken", "are_of_one_key", "decode_context", "encode_context", "is_of",
    "joined", "token_of",
]  # fmt: skip

FORMAT_VERSION: Final = 1
_HEAD: Final = bytes([FORMAT_VERSION])
_BEFORE: Final = struct.Struct(">B8s")  # version, key hash
_CHECK: Final = struct.Struct(">I")  # crc32 of all before it
_pack: Final = msgpack.Packer().pack  # `packb` makes a Packer for each call


class ContextToken(NamedTuple):
    """What a client has seen of a key: the writes it covers, and the newest hybrid time among them."""

    vector: VersionVector = EMPTY_VECTOR
    time: HybridTime = ZERO


BLIND: Final = ContextToken()
"""Nothing seen: a write with it replaces nothing and becomes one more sibling."""


def encode_context(context: ContextToken, keyspace: KeyspaceId, key: bytes) -> bytes:
    """The token of a context read from this key."""
    return token_of(context.time, context.vector.entries, keyspace, key)


def token_of(time: HybridTime, entries: Sequence[Sequence[Any]], keyspace: KeyspaceId, key: bytes) -> bytes:
    """The same of what the context is made of; `entries` are its [actor, counter] pairs in order."""
    return _sealed(_key_hash(keyspace, key), time, entries)


def _sealed(key_hash: bytes, time: HybridTime, entries: Sequence[Sequence[Any]]) -> bytes:
    body: bytes = _pack((time, entries))
    token = _HEAD + key_hash + body
    return token + _CHECK.pack(crc32(token))


def joined(ours: bytes, theirs: bytes) -> tuple[bytes, ContextToken]:
    """The token of all that two tokens of one key cover, and what is in it; b"" covers nothing.

    Raises InvalidArgument for a damaged token, and for tokens of two keys.
    """
    if not ours or ours == theirs:
        return theirs, _opened(theirs)[1]
    key_hash, before = _opened(ours)
    other_hash, now = _opened(theirs)
    if key_hash != other_hash:
        raise _refused("was read from another key or keyspace")
    if now.time >= before.time and now.vector.covers_all(before.vector):
        return theirs, now
    both = ContextToken(before.vector.join(now.vector), max(before.time, now.time))
    return _sealed(key_hash, both.time, both.vector.entries), both


def are_of_one_key(one: bytes, other: bytes) -> bool:
    """Whether two tokens were read from the same key of the same keyspace.  Raises InvalidArgument for a
    damaged one."""
    return _opened(one)[0] == _opened(other)[0]


def is_of(token: bytes, keyspace: KeyspaceId, key: bytes) -> bool:
    """Whether a token was read from this key.  Raises InvalidArgument for a damaged one."""
    return _opened(token)[0] == _key_hash(keyspace, key)


def decode_context(token: bytes, keyspace: KeyspaceId, key: bytes) -> ContextToken:
    """Raises InvalidArgument for a damaged token and for one that was read from another key."""
    key_hash, context = _opened(token)
    if key_hash != _key_hash(keyspace, key):
        raise _refused("was read from another key or keyspace")
    return context


def _opened(token: bytes) -> tuple[bytes, ContextToken]:
    """The hash of the key that the token was read from, and the context."""
    if len(token) <= _BEFORE.size + _CHECK.size:
        raise _refused(f"is {len(token)} bytes long, too short to be one")
    if len(token) > MAX_CONTEXT_BYTES:
        raise _refused(f"is {len(token)} bytes long, at most {MAX_CONTEXT_BYTES} are taken")
    sealed, check = token[: -_CHECK.size], token[-_CHECK.size :]
    version, key_hash = _BEFORE.unpack_from(sealed)
    if version != FORMAT_VERSION or _CHECK.pack(crc32(sealed)) != check:
        raise _refused("is damaged, or of another version")
    return key_hash, _decode_body(sealed[_BEFORE.size :])


def _decode_body(body: bytes) -> ContextToken:
    try:
        fields: Any = msgpack.unpackb(body)
        time, pairs = fields
        if type(time) is not int or not 0 <= time < 1 << 64:
            raise ValueError("no hybrid time")
        if len(pairs) > MAX_CONTEXT_ACTORS:
            raise ValueError(f"it covers {len(pairs)} actors, the limit is {MAX_CONTEXT_ACTORS}")
        return ContextToken(decode_vector(pairs), HybridTime(time))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise _refused(f"does not decode: {error}") from error


def _key_hash(keyspace: KeyspaceId, key: bytes) -> bytes:
    return xxh3_64_digest(keyspace_bytes(keyspace) + key)


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the context token {why}", hint="get the key and hand back that answer's context, unchanged"
    )
