"""The whole log of a node, over all its starts: PATH is the newest file, then come PATH.1, PATH.2, ..."""

from __future__ import annotations

from itertools import count
from pathlib import Path

__all__ = ["tracebacks_in", "whole_log"]


def whole_log(path: str | Path) -> str:
    """Oldest first; empty when there is none."""
    numbered = (Path(f"{path}.{number}") for number in count(1))
    files = [Path(path)]
    while (older := next(numbered)).exists():
        files.append(older)
    return "".join(file.read_text("utf-8", "replace") for file in reversed(files) if file.exists())


def tracebacks_in(log: str) -> int:
    return log.count("Traceback (most recent")
