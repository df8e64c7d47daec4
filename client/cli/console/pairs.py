"""Options that give a node something, as ID=VALUE."""

from __future__ import annotations

from collections.abc import Iterable

from ringmill.cluster.errors import InvalidArgument

__all__ = ["parts_of"]


def parts_of(flag: str, given: Iterable[str], shape: str = "ID=VALUE", least: int = 2) -> list[list[str]]:
    """Each value cut at its = signs, into `least` parts or as many as the shape has.

    Raises InvalidArgument when there are not that many, or an id twice.
    """
    most = shape.count("=") + 1
    cut = [text.split("=", most - 1) for text in given]
    for parts, text in zip(cut, given, strict=True):
        if len(parts) < least or not all(parts):
            raise InvalidArgument(f"{flag} {text[:80]!r} is not {shape}")
        if sum(parts[0] == other[0] for other in cut) > 1:
            raise InvalidArgument(f"{flag} names {parts[0][:80]!r} twice")
    return cut
