"""What a backup is: the cluster's topology at its moment, and the tables of each node that it was read from.

Layout: docs/formats/backup.md.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from ringmill.cluster.errors import CorruptData, ProtocolMismatch, RingmillError
from ringmill.cluster.ids import DiskId, NodeId, PartitionId
from ringmill.cluster.mapreduce.well_formed import whole_number
from ringmill.cluster.ring.topology import Owner, Topology

__all__ = ["BackedNode", "BackedTable", "BackupManifest"]

FORMAT_VERSION: Final = 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LAST_MS: Final = 253_402_300_799_999  # of the year 9999: later ones have no date
_HINT: Final = "use another backup; delete this one by removing the file"


@dataclass(frozen=True, slots=True)
class BackedTable:
    file: int  # its number in the node's store; its blocks bear it
    bytes: int
    sha256: str  # in hexadecimal digits


@dataclass(frozen=True, slots=True)
class BackedNode:
    """`edit` describes the tables (docs/formats/manifest.md), of which batches up to `sequence` count.

    `lacking` are partitions of the node for which it does not count, as something was damaged or not filled.
    """

    node: str
    disk: str
    start: int
    boot: str
    sequence: int
    edit: bytes
    tables: tuple[BackedTable, ...]
    lacking: tuple[int, ...] = ()
    lacks_hints: bool = False

    def copies(self, topology: Topology) -> dict[int, int]:
        """The epoch of its copy of each partition for which it counts."""
        seat = Owner(NodeId(self.node), DiskId(self.disk))
        return {
            PartitionId(number): row.copy_epoch_of(seat.node)
            for number, row in enumerate(topology.rows)
            if seat in row.owners and number not in self.lacking
        }


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """Times are milliseconds since 1970.  `holds_w`: every write is in it that this number of nodes or
    more acknowledged before `began_ms`.  `missing` are members that it was made without."""

    name: str
    began_ms: int
    ended_ms: int
    holds_w: int
    missing: tuple[str, ...]
    topology: Topology
    nodes: tuple[BackedNode, ...]

    def tables(self) -> dict[str, BackedTable]:
        """All tables, each once, by their hashes."""
        return {table.sha256: table for node in self.nodes for table in node.tables}

    @property
    def size_bytes(self) -> int:
        return sum(table.bytes for table in self.tables().values())

    def encode(self) -> bytes:
        body = {
            "name": self.name,
            "cluster": self.topology.cluster,
            "cluster_name": self.topology.name,
            "epoch": self.topology.epoch,
            "began_ms": self.began_ms,
            "ended_ms": self.ended_ms,
            "holds_w": self.holds_w,
            "missing": list(self.missing),
            "keyspaces": [each.name for each in self.topology.keyspaces],
            "topology": base64.b64encode(self.topology.encode()).decode(),
            "nodes": [{**asdict(node), "edit": base64.b64encode(node.edit).decode()} for node in self.nodes],
        }
        return json.dumps({"format": FORMAT_VERSION, "sha256": _checksum(body), "backup": body}).encode()

    @classmethod
    def decode(cls, path: str, data: bytes) -> BackupManifest:
        """Raises CorruptData, which names the file; ProtocolMismatch for a later format."""
        try:
            document: Any = json.loads(data)
            version, body = document["format"], document["backup"]
            if version != FORMAT_VERSION:
                raise ProtocolMismatch(f"{path} has format {version!r:.20}, know {FORMAT_VERSION}")
            if _checksum(body) != document["sha256"]:
                raise CorruptData(f"{path} is damaged: its checksum does not fit", hint=_HINT)
            return cls(
                str(body["name"]),
                whole_number(body["began_ms"], most=_LAST_MS),
                whole_number(body["ended_ms"], most=_LAST_MS),
                whole_number(body["holds_w"]),
                tuple(map(str, body["missing"])),
                Topology.decode(base64.b64decode(body["topology"])),
                tuple(map(_node, body["nodes"])),
            )
        except RingmillError:
            raise
        except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
            raise CorruptData(f"{path} is not a manifest of a backup: {error}", hint=_HINT) from error


def _checksum(body: object) -> str:
    """The checksum of the fields, whatever the white space between them."""
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _node(fields: Any) -> BackedNode:
    return BackedNode(
        str(fields["node"]),
        str(fields["disk"]),
        whole_number(fields["start"]),
        str(fields["boot"]),
        whole_number(fields["sequence"]),
        base64.b64decode(fields["edit"]),
        tuple(map(_table, fields["tables"])),
        tuple(map(whole_number, fields["lacking"])),
        bool(fields["lacks_hints"]),
    )


def _table(fields: Any) -> BackedTable:
    digest = str(fields["sha256"])
    if not _DIGEST.fullmatch(digest):  # it becomes part of a path
        raise ValueError(f"{digest[:80]!r} is not a SHA-256 in hexadecimal digits")
    return BackedTable(whole_number(fields["file"]), whole_number(fields["bytes"]), digest)
