"""The place of a request in a trace: of which trace it is, and which span has caused it.

W3C Trace Context: in a header it is the text `traceparent`, in a frame 25 bytes (docs/formats/frame.md).
Pure.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["TRACEPARENT", "TRACE_BYTES", "TraceContext"]

TRACEPARENT: Final = "traceparent"
"""The name of the header, and of the metadata of a gRPC call."""
TRACE_BYTES: Final = 25

_TEXT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID_BYTES: Final = 16
_SAMPLED: Final = 1
_INVALID_VERSION: Final = "ff"
_VERSION: Final = "00"


class TraceContext(NamedTuple):
    """16 bytes that name the trace, 8 that name the span, and flags of which the lowest says "recorded"."""

    trace_id: bytes
    span_id: bytes
    flags: int = _SAMPLED

    @property
    def is_valid(self) -> bool:
        """Ids of nothing but zeros name nothing."""
        return any(self.trace_id) and any(self.span_id)

    @property
    def is_sampled(self) -> bool:
        """Whether who has caused the request records the trace."""
        return bool(self.flags & _SAMPLED)

    @property
    def text(self) -> str:
        """As a header has it."""
        return f"{_VERSION}-{self.trace_id.hex()}-{self.span_id.hex()}-{self.flags:02x}"

    def encode(self) -> bytes:
        return self.trace_id + self.span_id + bytes([self.flags])

    @classmethod
    def decode(cls, carried: bytes) -> TraceContext | None:
        """None for bytes that name no trace."""
        if len(carried) != TRACE_BYTES:
            return None
        found = cls(carried[:_TRACE_ID_BYTES], carried[_TRACE_ID_BYTES:-1], carried[-1])
        return found if found.is_valid else None

    @classmethod
    def parse(cls, text: str) -> TraceContext | None:
        """None for a header that is none: then the standard says to begin anew.

        A header of a later version may have more at its end.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None or match[1] == _INVALID_VERSION or (match[1] == _VERSION and match[5]):
            return None
        found = cls(bytes.fromhex(match[2]), bytes.fromhex(match[3]), int(match[4], 16))
        return found if found.is_valid else None
