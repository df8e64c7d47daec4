"""The one checksum of every file: crc32c over what was written and over where it was written.

The place (file id, offset, kind) is part of the sum, so that intact bytes at a wrong place read as corrupt.
Layouts: docs/formats/log.md, docs/formats/table.md.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import google_crc32c

__all__ = ["checksum"]

_PLACE: Final = Struct("<QQB")
_pack = _PLACE.pack
_value = google_crc32c.value
_extend = google_crc32c.extend


def checksum(file_id: int, offset: int, kind: int, data: bytes) -> int:
    """crc32c of `data` that belongs at `offset` of file `file_id` as a block of `kind` (one byte)."""
    crc: int = _extend(_value(_pack(file_id, offset, kind)), data)
    return crc
