"""What happened in a run: a running hash always, a readable story on request.

The hash is what "same seed, same run" means.  Labels never contain a repr, an address or an id(); only
names, numbers and bytes that the run itself decided.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

__all__ = ["Trace"]


class Trace:
    """Collects events in virtual time.  `count` is for faults that fired, `note` for everything."""

    def __init__(self, now: Callable[[], float], *, story: bool = False) -> None:
        self._now = now
        self._hash = hashlib.sha256()
        self._pending: list[str] = []
        self._story: list[str] | None = [] if story else None
        self.faults: Counter[str] = Counter()
        self.first_at: dict[str, float] = {}  # by kind of fault
        self.struck: Counter[str] = Counter()  # by job: how often a fault killed one of its task processes
        self.events = 0

    def note(self, who: str, what: str, payload: bytes = b"") -> None:
        """One event.  `payload` enters the hash, and the story as a size."""
        self.events += 1
        line = f"{self._now():.6f} {who} {what} {len(payload)}"
        self._pending.append(line)
        if payload:
            self._flush()
            self._hash.update(payload)
        elif len(self._pending) >= 256:
            self._flush()
        if self._story is not None:
            self._story.append(line)

    def fault(self, kind: str, who: str) -> None:
        """A fault fired: counted by kind."""
        self.faults[kind] += 1
        self.first_at.setdefault(kind, self._now())
        self.note(who, f"fault {kind}")

    def digest(self) -> str:
        """Hash of everything so far, 64 hexadecimal digits."""
        self._flush()
        return self._hash.hexdigest()

    def story(self) -> list[str]:
        """One line an event: "time who what size"; empty unless asked for at the start."""
        return list(self._story or [])

    def _flush(self) -> None:
        if self._pending:
            self._hash.update("\n".join(self._pending).encode())
            self._pending.clear()
