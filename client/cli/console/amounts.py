"""Shares and sizes as they are typed: "70%", "10GiB"."""

from __future__ import annotations

import re
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["amount_of"]

_AMOUNT: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(%|B|KiB|MiB|GiB|TiB)?")
_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def amount_of(flag: str, text: str, example: str) -> float:
    """A share ("70%") or a size ("10GiB"), whichever the example is; above 0.  Raises InvalidArgument."""
    match = _AMOUNT.fullmatch(text.strip())
    is_share = example.endswith("%")
    if match is None or (match[2] == "%") != is_share or not float(match[1]):
        what = "a share in percent above 0" if is_share else "a size above 0 in B, KiB, MiB, GiB or TiB"
        raise InvalidArgument(f"{flag}: {text[:40]!r} is not {what}", hint=f"{flag} {example}, for example")
    return float(match[1]) / 100 if is_share else float(match[1]) * _UNITS[match[2] or "B"]
