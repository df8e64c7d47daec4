"""What a hint is, and its bytes.  Layout: docs/formats/hint.md.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import NodeId

__all__ = ["Hint", "decode_hint", "encode_hint"]

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Hint:
    """`targets` are the owners it is for, sorted; for those in `counted` it has counted toward a level."""

    targets: tuple[NodeId, ...]
    encoded: bytes  # the object, docs/formats/object.md
    counted: tuple[NodeId, ...] = ()


def encode_hint(hint: Hint) -> bytes:
    counted = list(hint.counted) or 0  # as releases wrote it before there were any
    packed: bytes = msgpack.packb([FORMAT_VERSION, list(hint.targets), counted, hint.encoded])
    return packed


def decode_hint(data: bytes) -> Hint:
    """Raises CorruptData."""
    try:
        fields: Any = msgpack.unpackb(data)
        version, targets, counted, encoded = fields
        if version != FORMAT_VERSION or not isinstance(encoded, bytes):
            raise ValueError(f"version {version!r:.40}, know {FORMAT_VERSION}")
        return Hint(_nodes(targets), encoded, _nodes(counted) if counted else ())
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"a hint of {len(data)} bytes does not decode: {error}") from error


def _nodes(names: Iterable[object]) -> tuple[NodeId, ...]:
    return tuple(NodeId(str(name)) for name in names)
