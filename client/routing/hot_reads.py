"""Keys whose reads a node has called hot: this client asks their owners in turn (rule G7).

The node that answers a read of a hot key says so.  A client that hears it lets each owner coordinate some of
its next reads of that key; writes go on as ever.  At most 64 keys are kept, for 10 s after the last
such answer.  Pure; `now` is on the loop's clock.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HotReads"]

KEYS: Final = 64
KEPT_S: Final = 10.0


class _HotKey:
    __slots__ = ("turn", "until")

    def __init__(self) -> None:
        self.turn = 0
        self.until = 0.0


class HotReads:
    def __init__(self) -> None:
        self._keys: dict[tuple[str, bytes], _HotKey] = {}  # that of the oldest news first

    def heard(self, keyspace: str, key: bytes, now: float) -> None:
        """A node says that this key is hot."""
        name = keyspace or "default", key
        known = self._keys.pop(name, None) or _HotKey()
        known.until = now + KEPT_S
        self._keys[name] = known
        if len(self._keys) > KEYS:
            del self._keys[next(iter(self._keys))]

    def next_turn(self, keyspace: str, key: bytes, now: float) -> int:
        """A number that grows with each read of a hot key; 0 for any other."""
        if not self._keys:
            return 0
        name = keyspace or "default", key
        known = self._keys.get(name)
        if known is None:
            return 0
        if known.until < now:
            del self._keys[name]
            return 0
        known.turn += 1
        return known.turn
