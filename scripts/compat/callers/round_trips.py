"""Writes keys and reads them back for a while, and once more at the end: what each client does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["round_trips"]

_MOST_TOLD: Final = 3


def round_trips(
    put: Callable[[str, str], object],
    get: Callable[[str], str | None],
    seconds: float,
    errors: tuple[type[Exception], ...],
) -> Mapping[str, object]:
    """How it went.  `wrong` are reads that gave another value than the last one that was acknowledged, at
    once or at the end; `failed` are requests that ended as an error, `told` some of these errors."""
    kept: dict[str, str] = {}
    messages: list[str] = []
    asked = failed = wrong = 0
    slowest_s = 0.0
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        key, value = f"caller:{asked % 500}", str(asked)
        asked += 1
        try:
            put(key, value)
            kept[key] = value
            wrong += get(key) != value
        except errors as error:
            kept.pop(key, None)  # it may hold either value
            failed += 1
            messages.append(f"{type(error).__name__}: {error}"[:200])
        slowest_s = max(slowest_s, time.monotonic() - began)
    wrong += sum(get(key) != value for key, value in kept.items())
    return {
        "asked": 2 * asked, "failed": failed, "wrong": wrong, "slowest_ms": round(slowest_s * 1000),
        "told": messages[:_MOST_TOLD],
    }  # fmt: skip
