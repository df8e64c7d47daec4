"""What a part file has beside its records: a header, or the frame of a format that is more than lines.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

__all__ = ["HeaderForm", "PartForm"]


class PartForm(Protocol):
    """Makes the content of one part of its records, as they are rendered."""

    def pack(self, data: bytes) -> Iterator[bytes]:
        """What can be written so far.  Raises TaskFailed for records that the format cannot hold."""
        ...

    def end(self) -> bytes:
        """The rest, after which nothing may come."""
        ...


class HeaderForm:
    """A line before all records, also where there is none."""

    def __init__(self, header: bytes) -> None:
        self._due = header

    def pack(self, data: bytes) -> Iterator[bytes]:
        if self._due:
            yield self._due
            self._due = b""
        yield data

    def end(self) -> bytes:
        due, self._due = self._due, b""
        return due
