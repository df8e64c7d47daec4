"""The context token: a reader passes it back with its write, without looking into it.

A token is bound to the key it was read from.  With another key it would cover writes that its holder never
saw, and these would be lost, so it is refused there (rule V1).  It has a seal that only nodes can make: who
could write one himself would cover writes that nobody has made, and hide those that get their names later
(rule V8).  Layout: docs/formats/context_token.md.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack
from xxhash import xxh3_64_digest

from ringmill.cluster.access.cluster_secret import accepted_secrets
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId, keyspace_bytes
from ringmill.cluster.limits import MAX_CONTEXT_ACTORS, MAX_CONTEXT_BYTES
from ringmill.cluster.versions.dots import EMPTY_VECTOR, VersionVector
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.object_codec import decode_vector
from ringmill.cluster.versions.objects import Sibling
from ringmill.cluster.versions.told_entries import MOST_TOLD, told_entries

__all__ = [
    "BLIND", "FORMAT_VERSION", "NO_SECRET", "ContextSeal", "ContextToken", "are_of_one_key", "blind_token",
    "is_of", "joined", "told_by",
]  # fmt: skip

FORMAT_VERSION: Final = 2
_HEAD: Final = bytes([FORMAT_VERSION])
_JOINED_VERSION: Final = 3  # several tokens of one key
_JOINED_HEAD: Final = bytes([_JOINED_VERSION])
_BEFORE: Final = struct.Struct(">B8s")  # version, key hash
_CHECK: Final = struct.Struct(">I")  # crc32 of all before it
_SEAL_BYTES: Final = 12
_NO_SEAL: Final = bytes(_SEAL_BYTES)
_LABEL: Final = b"ringmill context"
_pack: Final = msgpack.Packer().pack  # `packb` makes a Packer for each call


class ContextToken(NamedTuple):
    """What a client has seen of a key: the writes it covers, and the newest hybrid time among them."""

    vector: VersionVector = EMPTY_VECTOR
    time: HybridTime = ZERO


BLIND: Final = ContextToken()
"""Nothing seen: a write with it replaces nothing and becomes one more sibling."""


class ContextSeal:
    """Makes tokens that no client can make, and opens them.

    All nodes of a cluster know the `secret`.  With "" everybody can make the same seal.  While the secret is
    rotated it is the text of both (cluster/access/cluster_secret.py): tokens are sealed by the one in force,
    and those with a seal by either are opened.
    """

    def __init__(self, secret: str) -> None:
        self.change(secret)

    def change(self, secret: str) -> None:
        """Seal and open by this one from now on."""
        self._fresh, *self._others = map(_keyed, accepted_secrets(secret) or ("",))

    def token(
        self,
        context: ContextToken,
        keyspace: KeyspaceId,
        key: bytes,
        siblings: Sequence[Sibling] = (),
        owners: Collection[str] = (),
    ) -> bytes:
        """The token of a context read from this key, of an object with these siblings.  One of very many
        actors names the siblings' and the newest, those of its `owners` first (rule V12)."""
        entries = context.vector.entries
        if len(entries) <= MOST_TOLD:
            return self.token_of(context.time, entries, keyspace, key)
        newest_first = sorted(siblings, key=lambda sibling: (sibling.time, sibling.dot), reverse=True)
        writers = [sibling.dot.actor for sibling in newest_first]
        return self.token_of(context.time, entries, keyspace, key, writers, owners)

    def token_of(
        self,
        time: HybridTime,
        entries: Sequence[Sequence[Any]],
        keyspace: KeyspaceId,
        key: bytes,
        writers: Sequence[str] = (),
        owners: Collection[str] = (),
    ) -> bytes:
        """The token of a context that is given in parts.

        `entries` are its [actor, counter] pairs in order, `writers` the siblings' actors, newest first.
        """
        if len(entries) > MOST_TOLD:
            entries = told_entries(entries, writers, owners)
        body: bytes = _HEAD + _key_hash(keyspace, key) + _pack((time, entries))
        return _checked(body + self._seal(body))

    def open(self, token: bytes, keyspace: KeyspaceId, key: bytes) -> ContextToken:
        """What is in a token.

        Raises InvalidArgument for a damaged one, one that was read from another key, and one that no node of
        this cluster has given out.
        """
        opened = _opened_of(token, keyspace, key)
        for body, seal, context in opened.parts:
            if not self._is_seal(body, seal) and context != BLIND:
                raise _refused("was given out by no node of this cluster, or before its token was changed")
        return opened.context

    def _seal(self, body: bytes) -> bytes:
        return _sealed(self._fresh, body)

    def _is_seal(self, body: bytes, seal: bytes) -> bool:
        if compare_digest(self._seal(body), seal):
            return True
        return any(compare_digest(_sealed(other, body), seal) for other in self._others)


def _keyed(secret: str) -> blake2b:
    key = blake2b(secret.encode(), person=_LABEL, digest_size=32).digest()
    return blake2b(key=key, digest_size=_SEAL_BYTES)  # copied: half the cost of a new one


def _sealed(keyed: blake2b, body: bytes) -> bytes:
    fresh = keyed.copy()
    fresh.update(body)
    return fresh.digest()


NO_SECRET: Final = ContextSeal("")
"""The seal of nodes that have no token."""


class _Part(NamedTuple):
    """One token that a node has given out."""

    body: bytes  # what the seal is of
    seal: bytes
    context: ContextToken


class _Opened(NamedTuple):
    key_hash: bytes
    parts: tuple[_Part, ...]

    @property
    def context(self) -> ContextToken:
        """All that the parts cover."""
        first, *others = (part.context for part in self.parts)
        for other in others:
            first = ContextToken(first.vector.join(other.vector), max(first.time, other.time))
        return first


def told_by(token: bytes, keyspace: KeyspaceId, key: bytes) -> ContextToken:
    """What is in a token, whoever made it: for who only looks.  Raises InvalidArgument for a damaged one, and
    for one that was read from another key."""
    return _opened_of(token, keyspace, key).context


def blind_token(keyspace: KeyspaceId, key: bytes) -> bytes:
    """A token that covers nothing and only tells of which key it is: whoever makes it gains nothing."""
    body: bytes = _HEAD + _key_hash(keyspace, key) + _pack((BLIND.time, BLIND.vector.entries))
    return _checked(body + _NO_SEAL)


def joined(ours: bytes, theirs: bytes) -> tuple[bytes, ContextToken]:
    """The token of all that two tokens of one key cover, and what is in it; b"" covers nothing.

    A client cannot seal a new one, so tokens of which neither covers the other are kept beside each other.
    Raises InvalidArgument for a damaged token, and for tokens of two keys.
    """
    now = _opened(theirs)
    if not ours or ours == theirs:
        return theirs, now.context
    before = _opened(ours)
    if before.key_hash != now.key_hash:
        raise _refused("was read from another key or keyspace")
    later = now.context
    kept = [part for part in before.parts if not _covers(later, part.context)]
    if not kept:
        return theirs, later
    both = _Opened(now.key_hash, (*kept, *now.parts))
    tokens = [_checked(body + seal) for body, seal, _ in both.parts]
    return _checked(_JOINED_HEAD + now.key_hash + _pack(tokens)), both.context


def _covers(later: ContextToken, earlier: ContextToken) -> bool:
    return later.time >= earlier.time and later.vector.covers_all(earlier.vector)


def are_of_one_key(one: bytes, other: bytes) -> bool:
    """Whether two tokens were read from the same key of the same keyspace.  Raises InvalidArgument for a
    damaged one."""
    return _opened(one).key_hash == _opened(other).key_hash


def is_of(token: bytes, keyspace: KeyspaceId, key: bytes) -> bool:
    """Whether a token was read from this key.  Raises InvalidArgument for a damaged one."""
    return _opened(token).key_hash == _key_hash(keyspace, key)


def _opened_of(token: bytes, keyspace: KeyspaceId, key: bytes) -> _Opened:
    opened = _opened(token)
    if opened.key_hash != _key_hash(keyspace, key):
        raise _refused("was read from another key or keyspace")
    return opened


def _opened(token: bytes) -> _Opened:
    """What is in a token that a node or `joined` has made.  Its seals are not looked at."""
    version, key_hash, body = _split(token)
    if version == FORMAT_VERSION:
        return _Opened(key_hash, (_part(token, body),))
    if version != _JOINED_VERSION:
        raise _refused("is damaged, or of another version")
    parts = []
    try:
        tokens: Any = msgpack.unpackb(body)
        for each in tokens:
            its_version, its_key_hash, its_body = _split(each)
            if (its_version, its_key_hash) != (FORMAT_VERSION, key_hash):
                raise ValueError("it joins tokens of two keys")
            parts.append(_part(each, its_body))
        if not parts:
            raise ValueError("it joins no tokens")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise _undecoded(error) from error
    return _Opened(key_hash, tuple(parts))


def _split(token: bytes) -> tuple[int, bytes, bytes]:
    """The version, the hash of the key that the token was read from, and the rest without its check."""
    if len(token) <= _BEFORE.size + _CHECK.size:
        raise _refused(f"is {len(token)} bytes long, too short to be one")
    if len(token) > MAX_CONTEXT_BYTES:
        raise _refused(f"is {len(token)} bytes long, at most {MAX_CONTEXT_BYTES} are taken")
    body, check = token[: -_CHECK.size], token[-_CHECK.size :]
    if _CHECK.pack(crc32(body)) != check:
        raise _refused("is damaged, or of another version")
    version, key_hash = _BEFORE.unpack_from(body)
    return version, key_hash, body[_BEFORE.size :]


def _part(token: bytes, body: bytes) -> _Part:
    sealed = token[: -_CHECK.size]
    return _Part(sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:], _decode_body(body[:-_SEAL_BYTES]))


def _checked(body: bytes) -> bytes:
    """With its check at the end."""
    return body + _CHECK.pack(crc32(body))


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
        raise _undecoded(error) from error


def _key_hash(keyspace: KeyspaceId, key: bytes) -> bytes:
    return xxh3_64_digest(keyspace_bytes(keyspace) + key)


def _undecoded(error: Exception) -> InvalidArgument:
    return _refused(f"does not decode: {error}")


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the context token {why}", hint="get the key and hand back that answer's context, unchanged"
    )
