"""The bytes of a topology document: one msgpack array, version first.

Nearly all rows of a document are those of the one before, so each is read and written once: RowTable.

Layout and limits: docs/formats/topology.md.  This module checks shapes and types; what the values must
satisfy is checked by their owners, topology_entries.py and topology.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack

from ringmill.cluster.access.scram import KeptKeys
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import ClusterId, DiskId, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ring.access.access_entries import OPEN_TO_ALL, Access, TokenEntry
from ringmill.cluster.ring.access.used_tokens import UsedToken
from ringmill.cluster.ring.hashing import MAX_PARTITIONS
from ringmill.cluster.ring.topology_entries import KeyspaceEntry, Member, Owner, Row, check_between

__all__ = [
    "FORMAT_VERSION",
    "MAX_DOCUMENT_BYTES",
    "UNTOLD_VERSION",
    "USED_TOKENS_VERSION",
    "Document",
    "RowTable",
    "pack_document",
    "unpack_document",
    "version_of",
]

FORMAT_VERSION: Final = 8
_FIRST_VERSION: Final = 1
_SECOND_VERSION: Final = 2
_THIRD_VERSION: Final = 3
_FOURTH_VERSION: Final = 4
_FIFTH_VERSION: Final = 5
_SIXTH_VERSION: Final = 6
_SEVENTH_VERSION: Final = 7
USED_TOKENS_VERSION: Final = 8
"""The first that can say which join tokens are used up (rule T11)."""
UNTOLD_VERSION: Final = 7
"""The last that a node reads which does not tell what it reads."""
MAX_DOCUMENT_BYTES: Final = 1024 * 1024
_KEPT: Final = 4  # times as many rows as a document has, before those of earlier ones are forgotten


class Document(NamedTuple):
    """The fields in the order they are written, after the version."""

    epoch: Epoch
    cluster: ClusterId
    name: str
    partitions: int
    n: int
    keyspaces: tuple[KeyspaceEntry, ...]
    members: tuple[Member, ...]
    rows: tuple[Row, ...]
    voters: tuple[Owner, ...]
    formers: tuple[ClusterId, ...]
    is_paused: bool
    access: Access
    used_tokens: tuple[UsedToken, ...]


class RowTable:
    """The rows of documents with one table of seats, in one form: they name a seat by its place there.

    A row is found by what is unpacked, so that it is the same object as in the document before, and written
    by the bytes that it had.
    """

    def __init__(self, seats: tuple[Owner, ...], version: int) -> None:
        self._seats = seats
        self._index = {seat: i for i, seat in enumerate(seats)}
        self._version = version
        self._read: dict[Any, Row] = {}

    def read(self, entries: Sequence[Any]) -> tuple[Row, ...]:
        """Raises InvalidArgument.  True for 1 is found like 1; it is not what `pack` writes."""
        known, new = self._read, dict[Any, Row]()
        try:
            rows = tuple([known.get(entry) or self._read_anew(entry, new) for entry in entries])
        except TypeError:  # a map among them, which cannot be looked up
            return tuple([self._row(entry) for entry in entries])
        if len(known) + len(new) > _KEPT * len(rows):
            self._read = dict(zip(entries, rows, strict=True))
        else:
            known.update(new)
        return rows

    def pack(self, rows: Sequence[Row]) -> list[bytes]:
        """The bytes of each row, all of whose seats are in the table."""
        return [self._packed(row) for row in rows]

    def _read_anew(self, entry: Any, new: dict[Any, Row]) -> Row:
        """Kept apart until all rows are read, so that a document that is refused leaves none behind."""
        row = new[entry] = self._row(entry)
        return row

    def _packed(self, row: Row) -> bytes:
        table, packed = row.packed_by  # together: a thread may pack the row for another table
        return packed if table is self else self._pack_anew(row)

    def _row(self, entry: Any) -> Row:
        return (_row if self._version < _FIFTH_VERSION else _moving_row)(entry, self._seats)

    def _pack_anew(self, row: Row) -> bytes:
        packed: bytes = msgpack.packb(_packed_row(row, self._index, self._version))
        row.note_packed(self, packed)
        return packed


@lru_cache(maxsize=8)
def _table(seats: tuple[Owner, ...], is_old: bool) -> RowTable:
    return RowTable(seats, _FIRST_VERSION if is_old else FORMAT_VERSION)


def version_of(document: Document) -> int:
    """The lowest that can say it: what nodes of the release before can read, they are given."""
    version = max(_lowest_version(each) for each in document.keyspaces)
    if document.formers:
        version = _FOURTH_VERSION
    if document.is_paused or not all(row.is_plain for row in document.rows):
        version = _FIFTH_VERSION
    if document.access != OPEN_TO_ALL:
        version = _SIXTH_VERSION
    if len(document.formers) > 1:
        version = _SEVENTH_VERSION
    if document.used_tokens:
        version = USED_TOKENS_VERSION
    return version


def pack_document(document: Document) -> bytes:
    """The one encoding of a document.  Owners are written as indexes into the sorted table of seats."""
    version = version_of(document)
    former, *earlier = document.formers or ("",)
    seats = tuple(sorted({*document.voters}.union(*[row.named for row in document.rows])))
    rows = _table(seats, version < _FIFTH_VERSION).pack(document.rows)
    index = {seat: i for i, seat in enumerate(seats)}
    used = [[token.id, token.expires_s] for token in document.used_tokens]
    later = [former, document.is_paused, _packed_access(document.access), earlier, used]
    head = [
        version,
        document.epoch,
        document.cluster,
        document.name,
        document.partitions,
        document.n,
        [_packed_keyspace(keyspace, version) for keyspace in document.keyspaces],
        [[m.id, m.disk, m.address, m.zone, m.weight, m.state] for m in document.members],
        [list(seat) for seat in seats],
    ]
    tail = [[index[voter] for voter in document.voters], *later[: max(0, version - _THIRD_VERSION)]]
    packer = msgpack.Packer()
    fields = [packer.pack_array_header(len(head) + 1 + len(tail)), *map(packer.pack, head)]
    return b"".join([*fields, packer.pack_array_header(len(rows)), *rows, *map(packer.pack, tail)])


def unpack_document(data: bytes) -> Document:
    """Raises InvalidArgument for bytes that are not a document, ProtocolMismatch for a later version."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(f"topology document of {len(data)} bytes, the limit is {MAX_DOCUMENT_BYTES}")
    try:
        fields = msgpack.unpackb(data, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidArgument(f"{len(data)} bytes are not a topology document: {error}") from error
    if not isinstance(fields, tuple) or not fields:
        raise InvalidArgument(f"a topology document is a msgpack array, got {type(fields).__name__}")
    if fields[0] not in range(_FIRST_VERSION, FORMAT_VERSION + 1):
        raise ProtocolMismatch(
            f"topology document has format version {_shown(fields[0])}, this release reads {_FIRST_VERSION} "
            f"to {FORMAT_VERSION}"
        )
    return _read(fields)


def _read(fields: Sequence[Any]) -> Document:
    later_types: tuple[type, ...] = (str, bool, tuple, tuple, tuple)
    last = later_types[: max(0, fields[0] - _THIRD_VERSION)]
    types: tuple[type, ...] = (int, int, str, str, int, int, tuple, tuple, tuple, tuple, tuple, *last)
    head = _typed("document", fields, types)
    version, epoch, cluster, name, partitions, n, keyspaces, members, seats, rows, voters, *later = head
    is_paused = later[1] if version >= _FIFTH_VERSION else False
    access = _access(later[2]) if version >= _SIXTH_VERSION else OPEN_TO_ALL
    used = later[4] if version >= USED_TOKENS_VERSION else ()
    owners = tuple([_owner(seat) for seat in seats])
    check_between("number of rows", len(rows), 1, MAX_PARTITIONS)
    check_between("number of rows", len(rows), partitions, partitions)
    return Document(
        Epoch(epoch),
        ClusterId(cluster),
        name,
        partitions,
        n,
        tuple(_keyspace(entry, version) for entry in keyspaces),
        tuple(_member(entry) for entry in members),
        _table(owners, version < _FIFTH_VERSION).read(rows),
        tuple(_seat(owners, voter) for voter in voters),
        _formers(later),
        is_paused,
        access,
        tuple(_used_token(entry) for entry in used),
    )


def _packed_row(row: Row, index: Mapping[Owner, int], version: int) -> list[Any]:
    owners = [index[owner] for owner in row.owners]
    if version < _FIFTH_VERSION:
        return [row.phase, row.row_epoch, row.copy_epochs[0], *owners]
    joins = [index[seat] for seat in (row.joiner, row.leaver) if seat is not None]
    wanted = [index[seat] for seat in row.wanted]
    return [row.phase, row.row_epoch, owners, [*row.copy_epochs], joins, wanted]


def _lowest_version(keyspace: KeyspaceEntry) -> int:
    """The first that can say it: before version 3 quorums are "strict", in version 1 durability is "sync"."""
    if keyspace.quorum != "strict":
        return _THIRD_VERSION
    return _FIRST_VERSION if keyspace.durability == "sync" else _SECOND_VERSION


def _packed_keyspace(keyspace: KeyspaceEntry, version: int) -> list[Any]:
    k = keyspace
    fields: list[Any] = [*k.id, k.name, k.kind, k.policy, k.r, k.w, k.ttl_ms]
    later = [k.durability, k.quorum]
    return [*fields, *later[: version - _FIRST_VERSION]]


def _keyspace(entry: Any, version: int) -> KeyspaceEntry:
    later = (str, str)[: version - _FIRST_VERSION]
    types: tuple[type, ...] = (int, int, str, str, str, int, int, int, *later)
    epoch, ordinal, *rest = _typed("keyspace", entry, types)
    return KeyspaceEntry(KeyspaceId(epoch, ordinal), *rest)


def _packed_access(access: Access) -> list[Any]:
    tokens = [[t.id, t.name, t.role, t.made_s, t.expires_s, t.is_revoked, *t.keys] for t in access.tokens]
    return [access.is_required, tokens]


def _access(entry: Any) -> Access:
    is_required, tokens = _typed("access", entry, (bool, tuple))
    return Access(is_required, tuple(_token(each) for each in tokens))


def _token(entry: Any) -> TokenEntry:
    id, name, role, made_s, expires_s, is_revoked, *keys = _typed(
        "token", entry, (str, str, str, int, int, bool, bytes, bytes)
    )
    return TokenEntry(id, name, role, made_s, expires_s, is_revoked, KeptKeys(*keys))


def _used_token(entry: Any) -> UsedToken:
    return UsedToken(*_typed("used join token", entry, (bytes, int)))


def _member(entry: Any) -> Member:
    node, disk, *rest = _typed("member", entry, (str, str, str, str, int, str))
    return Member(NodeId(node), DiskId(disk), *rest)


def _owner(entry: Any) -> Owner:
    node, disk = _typed("seat", entry, (str, str))
    owner = Owner(NodeId(node), DiskId(disk))
    owner.check()
    return owner


def _row(entry: Any, owners: Sequence[Owner]) -> Row:
    head = entry[:3] if isinstance(entry, tuple) else entry
    phase, row_epoch, copy_epoch = _typed("row", head, (str, int, int))
    seats = tuple(_seat(owners, i) for i in entry[3:])
    return _same_row(seats, phase, Epoch(row_epoch), (Epoch(copy_epoch),) * len(seats), None, None, ())


def _moving_row(entry: Any, owners: Sequence[Owner]) -> Row:
    phase, row_epoch, seats, copy_epochs, joins, wanted = _typed(
        "row", entry, (str, int, tuple, tuple, tuple, tuple)
    )
    if any(type(each) is not int for each in copy_epochs) or len(joins) > 2:
        raise InvalidArgument("a row's copy epochs are integers, and one seat joins it and one leaves it")
    joiner, leaver, *_ = (*(_seat(owners, i) for i in joins), None, None)
    return _same_row(
        tuple(_seat(owners, i) for i in seats),
        phase,
        Epoch(row_epoch),
        tuple(copy_epochs),
        joiner,
        leaver,
        tuple(_seat(owners, i) for i in wanted),
    )


@lru_cache(maxsize=4096)
def _same_row(*fields: Any) -> Row:
    """Most rows are as they were in the epoch before, and whoever compares the two sees that at once."""
    return Row(*fields)


def _seat(owners: Sequence[Owner], index: Any) -> Owner:
    if type(index) is not int or not 0 <= index < len(owners):
        raise InvalidArgument(f"seat {_shown(index)} of {len(owners)} does not exist")
    return owners[index]


def _shown(value: Any) -> str:
    """An array is not shown: it may be nested deeper than Python can print."""
    return f"of type {type(value).__name__}" if isinstance(value, tuple | dict) else str(value)[:20]


def _formers(later: Sequence[Any]) -> tuple[ClusterId, ...]:
    """From the fields that version 4 and later ones add: the newest first."""
    earlier = later[3] if len(later) > 3 else ()
    if any(type(each) is not str for each in earlier):
        raise InvalidArgument("ids of former clusters are texts")
    return tuple(ClusterId(each) for each in (*later[:1], *earlier) if each)


def _typed(what: str, entry: Any, types: Sequence[type]) -> tuple[Any, ...]:
    """`entry` as an array whose items have exactly these types."""
    if not isinstance(entry, tuple) or len(entry) != len(types):
        raise InvalidArgument(f"{what} is not an array of {len(types)} items")
    for i, (item, wanted) in enumerate(zip(entry, types, strict=True)):
        if type(item) is not wanted:
            raise InvalidArgument(f"{what} item {i} is {type(item).__name__}, need {wanted.__name__}")
    return entry
