"""Reading files of any bytes as the engine and the tool for people do: what fuzzers aim at.

A checksum hides what lies behind it from rubbish.  So a valid file can be taken apart into what its
checksums cover, and any such parts put together again with right checksums around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringmill.node.storage.check.inspect import dump_file
from ringmill.node.storage.check.verify import check_file
from ringmill.node.storage.checksum import checksum
from ringmill.node.storage.log.framing import Record, frame, read_records
from ringmill.node.storage.names import FileName, FilePart, log_name, manifest_name, table_name
from ringmill.node.storage.recovery.log_recovery import recover_logs
from ringmill.node.storage.storage_errors import CorruptBlock, NewerFormat
from ringmill.node.storage.table.table_format import (
    FOOTER_BYTES,
    TRAILER_BYTES,
    Footer,
    Handle,
    encode_footer,
    pack_trailer,
    unpack_trailer,
)
from ringmill.node.storage.table.table_reader import open_table, read_footer
from ringmill.node.storage.version.manifest import read_manifest
from ringmill.simulator.disk.lossy import LossyDisk

__all__ = ["KINDS", "assemble", "parts_of", "read_to_end"]

KINDS: Final = ("log", "table", "manifest")
FOLDER: Final = "data"
_FOOTER_KIND: Final = 0xFF
_CRC_BYTES: Final = 4
_NAMES: Final = {"log": log_name, "table": table_name, "manifest": manifest_name}


def read_to_end(name: FileName, data: bytes) -> bool:
    """Read a file of these bytes in every way there is.  False when a reader called it damaged.

    Raises what a reader raises besides CorruptBlock and NewerFormat, and AssertionError when it returns more
    records than this number of bytes can hold.
    """
    disk, kind, file_id = _disk_with(name, data), name.kind, name.file_id
    try:
        is_whole = not any(step.damages for step in check_file(disk, FOLDER, FilePart(name)))
        rows = sum(1 for _ in dump_file(disk, FOLDER, _NAMES[kind](file_id)))
        assert kind == "table" or rows <= len(data), f"{rows} records in {len(data)} bytes"
        if kind == "log":
            recovered = recover_logs(disk, FOLDER, [file_id], 0)
            assert recovered.memtable.size_bytes <= len(data)
            recover_logs(disk, FOLDER, [file_id], 0, are_sealed=True)
        elif kind == "table":
            _get_all(disk, file_id)
        else:
            read_manifest(disk, FOLDER, file_id, synced_bytes=len(data))
    except (CorruptBlock, NewerFormat):
        return False
    return is_whole


def _disk_with(name: FileName, data: bytes) -> LossyDisk:
    """A disk that holds nothing but this file."""
    disk = LossyDisk()
    disk.mkdir(FOLDER)
    file = disk.create(f"{FOLDER}/{_NAMES[name.kind](name.file_id)}")
    file.append(data)
    file.close()
    return disk


def parts_of(name: FileName, data: bytes) -> list[bytes]:
    """What the checksums of a valid file cover.  Of a table: each block behind its compression code, and an
    empty part for the footer, as `assemble` makes a fitting one."""
    if name.kind != "table":
        return [item.payload for item in read_records(name.file_id, data) if isinstance(item, Record)]
    table = open_table(_disk_with(name, data), FOLDER, name.file_id)
    footer = read_footer(table.file, name.file_id)
    handles = [*table.handles, footer.filter_at, footer.index_at, footer.properties_at]
    return [*(_part(data, handle) for handle in handles), b""]


def assemble(name: FileName, parts: Sequence[bytes]) -> bytes:
    """A file with right checksums around any parts; a table's last four are filter, index, properties and
    footer, an empty footer standing for one that fits."""
    body, file_id = b"", name.file_id
    if name.kind != "table":
        for part in parts:
            body += frame(file_id, len(body), part)
        return body
    *blocks, footer = parts
    handles = [Handle(0, 0)] * 3
    for block in blocks:
        code, stored = block[0] if block else 0, block[1:]
        handles.append(Handle(len(body), len(stored)))
        body += stored + pack_trailer(code, checksum(file_id, len(body), code, stored))
    if not footer:
        return body + encode_footer(Footer(handles[-3], handles[-2], handles[-1], file_id), len(body))
    footer = footer.ljust(FOOTER_BYTES - _CRC_BYTES, b"\0")[: FOOTER_BYTES - _CRC_BYTES]
    crc = checksum(file_id, len(body), _FOOTER_KIND, footer)
    return body + footer + crc.to_bytes(_CRC_BYTES, "little")


def _part(data: bytes, handle: Handle) -> bytes:
    code, _ = unpack_trailer(data, handle.offset + handle.size)
    assert handle.offset + handle.size + TRAILER_BYTES <= len(data)
    return bytes([code]) + data[handle.offset : handle.offset + handle.size]


def _get_all(disk: LossyDisk, file_id: int) -> None:
    """Find every key of a table that can be read, each in the block that the index names."""
    table = open_table(disk, FOLDER, file_id)
    for number in range(len(table.handles)):
        block = table.read_block(number)
        for key in block.keys:
            block.find(key, 1 << 60)
            table.block_of(key)
