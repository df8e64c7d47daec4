"""Keys and values as fields of a line: text where they are text, escapes for all other bytes.

`field_of` and `bytes_of` undo each other, so what `ringmill scan` prints is what `ringmill mput` reads.
"""

from __future__ import annotations

import re
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["bytes_of", "field_of"]

_SHORT: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\\": r"\\"}
_LONG: Final = {short: text.encode() for text, short in _SHORT.items()}
_ESCAPE: Final = re.compile(r"\\(?:[tnr\\]|x[0-9A-Fa-f]{2})?")


def field_of(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def bytes_of(field: str) -> bytes:
    """Raises InvalidArgument for an escape that there is not."""
    if "\\" not in field:
        return field.encode("utf-8", "surrogateescape")
    parts, at = bytearray(), 0
    for found in _ESCAPE.finditer(field):
        parts += field[at : found.start()].encode("utf-8", "surrogateescape")
        parts += _meant(found[0])
        at = found.end()
    return bytes(parts + field[at:].encode("utf-8", "surrogateescape"))


def _meant(escape: str) -> bytes:
    if escape in _LONG:
        return _LONG[escape]
    if escape == "\\":
        raise InvalidArgument(
            r"a backslash begins none of the escapes \t \n \r \\ \xNN", hint=r"write \\ for a backslash"
        )
    return bytes.fromhex(escape[2:])
