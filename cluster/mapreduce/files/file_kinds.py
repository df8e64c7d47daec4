"""Recognises the kind of an input file: text, compressed text, or a binary format without lines.

Pure: from a name and the first bytes.  A binary file or an archive read as text would give wrong results
without an error, so it is refused before the job starts, by its suffix or by the magic bytes of its format.

See: docs/formats/job.md, "Splits".
"""

from __future__ import annotations

from typing import Final

__all__ = ["COLUMN_FORMATS", "HEAD_BYTES", "is_packed", "why_no_columns", "why_unreadable"]

HEAD_BYTES: Final = 512
"""How many of a file's first bytes `why_unreadable` wants."""

_LZ4: Final = b"\x04\x22\x4d\x18"
_PACKED: Final = {
    ".gz": (b"\x1f\x8b",),
    ".bz2": (b"BZh",),
    ".xz": (b"\xfd7zXZ\x00",),
    ".lz4": (_LZ4,),
    ".zst": (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))),
}
"""Suffixes of the compressions that are unpacked, and how their files begin (zstd's may skip a frame)."""

_ADVICE_ARCHIVE: Final = "unpack the archive first, and give its files as input"
_ADVICE_UNPACK: Final = "unpack it first, or compress it as .gz, .bz2, .xz, .zst or .lz4"
_ADVICE_COLUMNS: Final = 'FileInput("parquet") and FileInput("arrow") read their own kind by columns'
_ADVICE_FILE: Final = 'read it whole: FileInput("file") hands map the path and the bytes'

_SUFFIXES: Final = {
    **dict.fromkeys(
        (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".jar", ".whl"), _ADVICE_ARCHIVE
    ),
    **dict.fromkeys((".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4"), _ADVICE_ARCHIVE),
    **dict.fromkeys((".snappy", ".sz", ".lzo", ".br", ".lzma", ".z"), _ADVICE_UNPACK),
    **dict.fromkeys((".parquet", ".arrow", ".feather"), _ADVICE_COLUMNS),
    **dict.fromkeys((".orc", ".avro", ".h5", ".xlsx"), _ADVICE_FILE),
}

_MAGIC: Final = (
    (0, b"PK\x03\x04", "a zip archive", _ADVICE_ARCHIVE),
    (0, b"PK\x05\x06", "an empty zip archive", _ADVICE_ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _ADVICE_ARCHIVE),
    (0, b"Rar!\x1a\x07", "a rar archive", _ADVICE_ARCHIVE),
    (257, b"ustar\x00", "a tar archive", _ADVICE_ARCHIVE),
    (257, b"ustar  \x00", "a tar archive", _ADVICE_ARCHIVE),
    (0, b"\xff\x06\x00\x00sNaPpY", "snappy data", _ADVICE_UNPACK),
    (0, b"Obj\x01", "an Avro file", _ADVICE_FILE),
    (0, b"ARROW1\x00\x00", "an Arrow file", _ADVICE_COLUMNS),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", _ADVICE_FILE),
    (0, b"SQLite format 3\x00", "an SQLite database", _ADVICE_FILE),
)
_PARQUET: Final = b"PAR1"
COLUMN_FORMATS: Final = {"parquet": (_PARQUET, _PARQUET), "arrow": (b"ARROW1", b"ROW1")}
_ORC: Final = b"ORC"  # at its start, and before its last byte
_BZIP2_BLOCK: Final = b"1AY&SY"  # follows "BZh" and a digit; three letters alone may begin a text


def is_packed(path: str) -> bool:
    """Whether a file of this name is unpacked while it is read, and therefore read as a whole."""
    return path.endswith(tuple(_PACKED))


def why_unreadable(path: str, head: bytes, tail: bytes) -> tuple[str, str] | None:
    """Why no lines can be read from a file, and what to do instead; None when they can.

    `head` are its first HEAD_BYTES bytes, `tail` its last four.
    """
    name = path.lower()
    for suffix, advice in _SUFFIXES.items():
        if name.endswith(suffix):
            return f"{suffix} files are not text", advice
    for suffix, starts in _PACKED.items():
        if path.endswith(suffix):
            return None if not head or head.startswith(starts) else _misnamed(suffix)
    return _by_magic(head, tail)


def why_no_columns(format: str, path: str, head: bytes, tail: bytes) -> tuple[str, str] | None:
    """Why a file is not of this format of columns, and what to do; None when it is."""
    begin, end = COLUMN_FORMATS[format]
    if is_packed(path):
        return "such files are not unpacked", "unpack it first; its columns may be compressed inside"
    if head.startswith(begin) and tail == end:
        return None
    what = {"parquet": "a Parquet file", "arrow": "an Arrow IPC file"}[format]
    return f"it does not begin and end as {what}", "is it another format, or was it cut off?"


def _misnamed(suffix: str) -> tuple[str, str]:
    return f"it is named {suffix} and does not begin as such a file", "give it the suffix of what it holds"


def _by_magic(head: bytes, tail: bytes) -> tuple[str, str] | None:
    for offset, magic, what, advice in _MAGIC:
        if head.startswith(magic, offset):
            return f"it is {what}", advice
    if head.startswith(_PARQUET) and tail == _PARQUET:
        return "it is a Parquet file", _ADVICE_COLUMNS
    if head.startswith(_ORC) and tail.startswith(_ORC) and not tail.endswith(b"\n"):
        return "it is an ORC file", _ADVICE_FILE
    for suffix, starts in _PACKED.items():
        if head.startswith(starts) and (suffix != ".bz2" or head.startswith(_BZIP2_BLOCK, 4)):
            return f"it is compressed, and its name does not end in {suffix}", f"rename it to end in {suffix}"
    return None
