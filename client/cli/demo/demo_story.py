"""Prints the tour as chapters of claims, and remembers which claims failed.

It knows no cluster.  A claim that fails does not end the tour; an error does.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from ringmill.client.cli.console.output import paint
from ringmill.client.cli.console.settings import Settings

__all__ = ["Story"]


@dataclass(slots=True)
class Story:
    """Prints and keeps the claims of one tour.  With -o json the text goes to stderr."""

    settings: Settings
    begun: float = field(default_factory=time.perf_counter)
    claims: list[dict[str, Any]] = field(default_factory=list)
    chapters: int = 0

    @property
    def has_held(self) -> bool:
        """Whether every claim so far was true."""
        return all(claim["ok"] for claim in self.claims)

    def chapter(self, title: str) -> None:
        self.chapters += 1
        self._say(f"\n{paint(self.settings, f'{self.chapters}. {title}', 'bold')}")

    def tell(self, text: str) -> None:
        """Print a line of narration, or a command and its result."""
        self._say(f"   {text}")

    def check(self, claim: str, *, ok: bool, seen: str = "") -> None:
        """Print a claim, whether it held, and what was seen."""
        self.claims.append({"chapter": self.chapters, "claim": claim, "ok": ok, "seen": seen})
        self._tell_claim(claim, ok=ok, seen=seen)

    def timed(self, claim: str, took_s: float, *, goal_s: float, limit_s: float) -> None:
        """Check a time against a goal and a limit: above the goal it is shown as slow, above the limit it
        fails."""
        seen = f"{took_s:.2f} s; goal {goal_s:g} s, fails above {limit_s:g} s"
        self.claims.append(
            {
                "chapter": self.chapters,
                "claim": claim,
                "ok": took_s < limit_s,
                "seen": seen,
                "slow": took_s > goal_s,
            }
        )
        if goal_s < took_s < limit_s:
            self._say(f"   {paint(self.settings, 'slow', 'yellow')} {claim}: {seen}")
        else:
            self._tell_claim(claim, ok=took_s < limit_s, seen=seen)

    @property
    def slow(self) -> list[str]:
        """Claims that held but missed their goal."""
        return [claim["claim"] for claim in self.claims if claim["ok"] and claim.get("slow")]

    def document(self) -> dict[str, Any]:
        return {
            "ok": self.has_held,
            "seconds": round(time.perf_counter() - self.begun, 1),
            "claims": self.claims,
        }

    def _tell_claim(self, claim: str, *, ok: bool, seen: str) -> None:
        mark = paint(self.settings, "ok  ", "green") if ok else paint(self.settings, "FAIL", "red")
        self._say(f"   {mark} {claim}{f': {seen}' if seen else ''}")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr if self.settings.output == "json" else sys.stdout, flush=True)
