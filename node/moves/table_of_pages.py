"""Makes a table of the pages that a source told of its copy.  Runs in a child process.

The loop of the node does not unpack a page: here each object is looked at, and here the sums and figures of
those in the table are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringmill.cluster.ports import FileSystem
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.lone_value import lone_of
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.pages import Page
from ringmill.node.replica.stored_key import KEYSPACE_PREFIX_BYTES
from ringmill.node.storage.batch import MAX_RECORD_KEY_BYTES, MAX_RECORD_VALUE_BYTES
from ringmill.node.storage.ingest import TablePlace, write_table
from ringmill.node.storage.table.table_format import TableMeta

__all__ = ["Item", "PagesJob", "TableFigures", "make_table"]

Item = tuple[bytes, bytes]
"""The key of an object without its copy's prefix, and its bytes."""


@dataclass(frozen=True, slots=True)
class PagesJob:
    prefix: bytes  # of the copy that the table is of
    bodies: Sequence[bytes]  # of pages, in order
    held: frozenset[bytes]  # stored keys that the table must not hold


@dataclass(slots=True)
class TableFigures:
    """`sums`, `items` and `size_bytes` are of the objects in the table, `read_bytes` of all; bytes of keys,
    without the prefix, and objects.  What is not a single value is in `rest`, and what was held."""

    sums: CopySums = field(default_factory=CopySums)
    items: int = 0
    size_bytes: int = 0
    read_bytes: int = 0
    newest: HybridTime = ZERO
    first_expiry_ms: int = 0  # in milliseconds since 1970; 0: nothing expires
    counters: dict[str, int] = field(default_factory=dict)  # the highest of each actor
    rest: list[Item] = field(default_factory=list)


def make_table(files: FileSystem, place: TablePlace, job: PagesJob) -> tuple[TableMeta | None, TableFigures]:
    """Raises ProtocolMismatch for what is not a page, OSError."""
    figures = TableFigures()
    keys: list[bytes] = []
    values: list[bytes] = []
    prefix, held, counters = job.prefix, job.held, figures.counters
    last = b""
    for body in job.bodies:
        for key, encoded in Page.decode(body).items:
            figures.read_bytes += len(key) + len(encoded)
            value, stored_key = lone_of(encoded), prefix + key
            is_sound = last < key and KEYSPACE_PREFIX_BYTES <= len(key) <= MAX_RECORD_KEY_BYTES - len(prefix)
            if value is None or not is_sound or len(encoded) > MAX_RECORD_VALUE_BYTES or stored_key in held:
                figures.rest.append((key, encoded))
                continue
            last = key
            keys.append(stored_key)
            values.append(encoded)
            figures.sums.change(stored_key, None, encoded)
            figures.size_bytes += len(key) + len(encoded)
            figures.newest = max(figures.newest, value.time)
            if value.expires_at_ms:
                first_ms = figures.first_expiry_ms or value.expires_at_ms
                figures.first_expiry_ms = min(first_ms, value.expires_at_ms)
            for actor, counter in value.vector:
                if counters.get(actor, 0) < counter:
                    counters[actor] = counter
    figures.items = len(keys)
    return write_table(files, place, keys, values), figures
