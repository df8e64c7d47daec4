"""What a session has seen, key by key, bounded; as bytes it travels from one process to another.

Each key has a context token, which covers what was read and written of it, and the dots and times of writes
whose receipts had no context.  The keys that were used last are kept exactly.  Of those that had to be
forgotten only one thing is known: whether any answer about them was weak.

Rules S1 to S3 and V12: docs/protocol/sessions.md, docs/protocol/versions.md.  Layout:
docs/formats/session_token.md.  Pure: client/kv.py asks it before a request and tells it the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from zlib import crc32

import msgpack
from xxhash import xxh3_64_digest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import ClusterId, KeyspaceId
from ringmill.cluster.limits import MAX_CONTEXT_BYTES
from ringmill.cluster.versions.context_token import are_of_one_key, blind_token, is_of, joined
from ringmill.cluster.versions.dots import parse_dot
from ringmill.cluster.versions.seen import Forgotten
from ringmill.cluster.wire.request_options import NOTHING_SEEN, Seen

if TYPE_CHECKING:
    from ringmill.cluster.wire.stubs.kv_pb2 import GetResponse, WriteReceipt

__all__ = ["MOST_BYTES", "MOST_KEYS", "SessionMemory"]

FORMAT_VERSION: Final = 2
_KNOWN_VERSIONS: Final = (1, FORMAT_VERSION)  # the former one has no times
MOST_KEYS: Final = 1000
MOST_BYTES: Final = 256 * 1024
_LONGEST_TOKEN: Final = 2 * MOST_BYTES
_ENTRY_BYTES: Final = 32  # of an entry besides its context and writes
_TIME_BYTES: Final = 9
_HEAD: Final = bytes([FORMAT_VERSION])
_CHECK_BYTES: Final = 4
_NAME_BYTES: Final = 8


_Write: TypeAlias = tuple[str, int]
"""The dot and the hybrid time of a write whose receipt had no context."""


class _Known(NamedTuple):
    """What is known of one key."""

    context: bytes
    writes: tuple[_Write, ...]
    is_weak: bool  # some of it was told as weak
    before: Forgotten  # what was seen before that and had been forgotten

    @property
    def size_bytes(self) -> int:
        return _ENTRY_BYTES + len(self.context) + sum(len(dot) + _TIME_BYTES for dot, _ in self.writes)

    @property
    def seen(self) -> Seen:
        dots, times = (tuple(each) for each in zip(*self.writes, strict=True)) if self.writes else ((), ())
        return Seen(self.context, dots, self.before, times)


class SessionMemory:
    """Used from one event loop.  `cluster` is the id of the only cluster in which it means anything."""

    def __init__(
        self, cluster: ClusterId, *, most_keys: int = MOST_KEYS, most_bytes: int = MOST_BYTES
    ) -> None:
        self.cluster = cluster
        self.newest = 0
        """The newest hybrid time in any answer."""
        self._most_keys = most_keys
        self._most_bytes = most_bytes
        self._keys: dict[bytes, _Known] = {}  # by hash, the one used last at the end
        self._size_bytes = 0
        self._forgotten = Forgotten.NOTHING

    def seen(self, keyspace: str, key: bytes) -> Seen:
        """What a request about this key has to know."""
        known = self._keys.get(_hash(keyspace, key))
        if known is not None:
            return known.seen
        return Seen(forgotten=self._forgotten) if self._forgotten else NOTHING_SEEN

    def note_read(self, keyspace: str, key: bytes, answer: GetResponse, asked: Seen | None) -> None:
        """A read was answered.  What a strict read has shown, no later strict one misses."""
        name = _hash(keyspace, key)
        known = self._take(name, answer.hybrid_time)
        token, writes, is_forgotten = _joined(_not_asked_for(known, asked), answer.context)
        is_strict = not answer.weak and token == answer.context and not writes and not is_forgotten
        is_weak = answer.weak or (known.is_weak and not is_strict)
        before = max(_still_before(known, asked), _forgotten(is_forgotten, is_weak=is_weak))
        self._keep(name, _Known(token, writes, is_weak, before))

    def note_write(
        self,
        keyspace: str,
        key: bytes,
        answer: WriteReceipt,
        asked: Seen | None,
        id: KeyspaceId | None = None,
    ) -> None:
        """A write was acknowledged; its receipt has no context while siblings remain beside it.

        `id` is the keyspace's, if it is known: such a receipt does not say of which one it is.
        """
        if id is not None and not answer.context:
            self.forget_others(keyspace, key, id)
        name = _hash(keyspace, key)
        known = self._take(name, answer.hybrid_time)
        is_weak = answer.weak or known.is_weak
        if answer.context:
            token, writes, is_forgotten = _joined(known, answer.context)
            before = max(_still_before(known, asked), _forgotten(is_forgotten, is_weak=is_weak))
        else:
            token, before = known.context, known.before
            writes = (*known.writes, (answer.dot, answer.hybrid_time))
            if id is not None and not token:
                token = blind_token(id, key)  # it covers nothing, and tells of which keyspace
        self._keep(name, _Known(token, writes, is_weak, before))

    def forget_others(self, keyspace: str, key: bytes, id: KeyspaceId) -> bool:
        """Forget what was seen of a key in an earlier keyspace of this name, which is gone with all that it
        held (rule S1).  Whether there was such."""
        name = _hash(keyspace, key)
        known = self._keys.get(name)
        if known is None or not known.context or is_of(known.context, id, key):
            return False
        del self._keys[name]
        self._size_bytes -= known.size_bytes
        return True

    def check_cluster(self, cluster: ClusterId) -> None:
        """Raises InvalidArgument when this is what was seen of another cluster."""
        if self.cluster != cluster:
            raise _refused(f"is of another cluster, {self.cluster[:32]}; this one is {cluster}")

    def encode(self) -> bytes:
        """The token of this session."""
        entries = [[name, *known] for name, known in self._keys.items()]
        body: bytes = msgpack.packb([self.cluster, self._forgotten, self.newest, entries])
        return _HEAD + body + crc32(_HEAD + body).to_bytes(_CHECK_BYTES, "big")

    @classmethod
    def decode(
        cls, token: bytes, cluster: ClusterId | None = None, *, most_keys: int = MOST_KEYS
    ) -> SessionMemory:
        """Raises InvalidArgument for what is not a token, is damaged, or is not of this cluster, if one is
        named."""
        if not token:
            raise _refused("is empty")
        if len(token) > _LONGEST_TOKEN:
            raise _refused(f"is {len(token)} bytes long, and none has more than {_LONGEST_TOKEN}")
        body, check = token[1:-_CHECK_BYTES], token[-_CHECK_BYTES:]
        if (
            not body
            or token[0] not in _KNOWN_VERSIONS
            or crc32(token[:-_CHECK_BYTES]).to_bytes(_CHECK_BYTES, "big") != check
        ):
            raise _refused("is not a session token, is damaged, or is of another version")
        try:
            fields: Any = msgpack.unpackb(body)
            its_cluster, forgotten, newest, entries = fields
            memory = cls(ClusterId(str(its_cluster)), most_keys=most_keys)
            memory.check_cluster(cluster or memory.cluster)
            memory.newest, memory._forgotten = _time(newest), Forgotten(forgotten)
            for name, context, writes, is_weak, before in entries:
                if context:
                    joined(b"", context)
                known = _Known(_bytes(context), tuple(map(_write, writes)), bool(is_weak), Forgotten(before))
                memory._keep(_bytes(name, _NAME_BYTES), known)
        except InvalidArgument:
            raise
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise _refused(f"does not decode: {error}") from error
        return memory

    def _take(self, name: bytes, hybrid_time: int) -> _Known:
        """What was known of a key until now; `_keep` puts back what is known then."""
        self.newest = max(self.newest, hybrid_time)
        known = self._keys.pop(name, None)
        if known is None:
            return _Known(b"", (), is_weak=False, before=self._forgotten)
        self._size_bytes -= known.size_bytes
        return known

    def _keep(self, name: bytes, known: _Known) -> None:
        self._keys[name] = known
        self._size_bytes += known.size_bytes
        while len(self._keys) > self._most_keys or self._size_bytes > self._most_bytes:
            oldest = next(iter(self._keys))
            gone = self._keys.pop(oldest)
            self._size_bytes -= gone.size_bytes
            self._forgotten = max(self._forgotten, _forgotten(True, is_weak=gone.is_weak))


def _joined(known: _Known, context: bytes) -> tuple[bytes, tuple[_Write, ...], bool]:
    """The token that covers both, and the writes that it does not cover.  Of two keyspaces of one name only
    the later counts.

    Also whether something of it has to be forgotten, as no request has room for it: the request that this
    answers has been done and does not fail for that (rule S3).
    """
    try:
        token, writes = _covering(known, context)
    except InvalidArgument:  # a node of a former release gives out contexts longer than any takes
        return known.context, known.writes, True
    if len(token) <= MAX_CONTEXT_BYTES:
        return token, writes, False
    return context, writes, True


def _forgotten(is_forgotten: bool, *, is_weak: bool) -> Forgotten:
    if not is_forgotten:
        return Forgotten.NOTHING
    return Forgotten.WEAK if is_weak else Forgotten.STRICT


def _covering(known: _Known, context: bytes) -> tuple[bytes, tuple[_Write, ...]]:
    if known.context and not are_of_one_key(known.context, context):
        is_later = joined(b"", context)[1].time >= joined(b"", known.context)[1].time
        return (context, ()) if is_later else (known.context, known.writes)
    token, covered = joined(known.context, context)
    return token, tuple(one for one in known.writes if not covered.vector.covers(parse_dot(one[0])))


def _not_asked_for(known: _Known, asked: Seen | None) -> _Known:
    """What is known beside what a read had asked for.

    The answer covers that, or it was deleted and is forgotten by all owners (rule P3): then no later answer
    has it, and who went on asking for it would never get one.
    """
    if asked is None:
        return known
    writes = tuple(one for one in known.writes if one[0] not in asked.dots)
    return known._replace(context=b"" if asked.context == known.context else known.context, writes=writes)


def _still_before(known: _Known, asked: Seen | None) -> Forgotten:
    """What may have been seen before and is not covered by an answer to a request that had asked for this."""
    is_covered = asked is not None and asked.forgotten >= known.before
    return Forgotten.NOTHING if is_covered else known.before


def _hash(keyspace: str, key: bytes) -> bytes:
    return xxh3_64_digest(keyspace.encode() + b"\0" + key)


def _time(newest: object) -> int:
    if not isinstance(newest, int) or not 0 <= newest < 1 << 64:
        raise ValueError("no hybrid time")
    return newest


def _bytes(value: object, size: int | None = None) -> bytes:
    """The bytes as they are, checked: of a number Python would make as many bytes."""
    if not isinstance(value, bytes) or size not in {None, len(value)}:
        raise ValueError("no name or context")
    return value


def _write(entry: Any) -> _Write:
    dot, time = (entry, 0) if isinstance(entry, str) else entry  # a former client kept no time
    parse_dot(dot)
    return dot, _time(time)


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the session token {why}",
        hint="hand back what session.token() gave, unchanged, or begin a new session",
    )
