"""What carries frames, by name, and the text by which an answering side offers another carrier than gRPC.

The offer is a piece of the handshake's metadata: "tcp:41234", a port of the host that was dialled, or
"unix:/folder/socket" with the path percent-encoded.  What a side does not know it does not take.

Layout: docs/formats/frame.md, "Handshake".
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import quote, unquote

__all__ = [
    "CARRIERS",
    "OFFER_KEY",
    "CarrierName",
    "Place",
    "offer_text",
    "offered",
]

CarrierName: TypeAlias = Literal["grpc", "tcp", "unix"]
CARRIERS: Final[tuple[CarrierName, ...]] = get_args(CarrierName)

OFFER_KEY: Final = "ringmill-carrier"

Place: TypeAlias = int | str
"""Where frames are taken: a TCP port, or the path of a Unix socket."""

_PORT_DIGITS: Final = 5


def offer_text(place: Place) -> str:
    return f"tcp:{place}" if isinstance(place, int) else f"unix:{quote(place)}"


def offered(text: str, carrier: CarrierName) -> Place | None:
    """Where an offer takes frames of `carrier`; None when it does not."""
    name, _, rest = text.partition(":")
    if name != carrier:
        return None
    if name == "unix":
        path = unquote(rest)
        return path if path.startswith("/") and "\0" not in path else None
    if not (rest.isascii() and rest.isdecimal()) or len(rest) > _PORT_DIGITS or not 0 < int(rest) < 65536:
        return None
    return int(rest)
