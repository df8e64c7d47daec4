"""Where a door of the gateway listens, as typed."""

from __future__ import annotations

import re
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["host_and_port"]

_PLACE: Final = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?([0-9]{1,5})", re.ASCII)
LOOPBACK: Final = "127.0.0.1"


def host_and_port(flag: str, place: str, example: int) -> tuple[str, int]:
    """Host, 127.0.0.1 unless it is given, and port; 0 is a free one.

    Raises InvalidArgument that names the flag.
    """
    found = _PLACE.fullmatch(place)
    if found is None or int(found[2]) > 65535:
        raise InvalidArgument(
            f"{flag} {place[:60]!r} is not [HOST:]PORT", hint=f"{flag} {example}, for example"
        )
    return (found[1] or LOOPBACK).strip("[]"), int(found[2])
