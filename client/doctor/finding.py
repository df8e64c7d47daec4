"""What one check of `ringmill doctor` found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["Finding", "Verdict", "bad", "is_wrong", "unwell", "warn", "well"]

Verdict: TypeAlias = Literal["ok", "warning", "wrong"]
_MOST_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """`told` is a sentence; `remedy` what to do, "" when there is nothing to be done."""

    check: str
    verdict: Verdict
    told: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return asdict(self)


def well(check: str, sentence: str) -> Finding:
    return Finding(check, "ok", sentence)


def warn(check: str, sentence: str, remedy: str = "") -> Finding:
    return Finding(check, "warning", sentence, remedy)


def bad(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(check, "wrong", sentence, remedy)


def unwell(check: str, verdict: Verdict, found: Iterable[str], remedy: str, otherwise: str) -> Finding:
    """One finding of many complaints, the first of which are told; `otherwise` when there is none."""
    complaints = [each for each in found if each]
    if not complaints:
        return well(check, otherwise)
    more = len(complaints) - _MOST_SHOWN
    sentence = "; ".join(complaints[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return Finding(check, verdict, sentence, remedy)


def is_wrong(findings: Iterable[Finding]) -> bool:
    """Whether something is wrong: a warning is not."""
    return any(finding.verdict == "wrong" for finding in findings)
