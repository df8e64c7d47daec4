"""Asks for a word typed in full before something that cannot be taken back."""

from __future__ import annotations

import sys

__all__ = ["is_typed"]


def is_typed(word: str, to: str) -> bool:
    """Whether the user types `word` when asked to; never when nobody is there to ask."""
    if not sys.stdin.isatty():
        return False
    return input(f"Type {word} to {to}: ").strip() == word
