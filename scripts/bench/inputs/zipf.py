"""Text like real text: words drawn by Zipf's law from a seed; the same files for everyone who asks."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

__all__ = ["zipf_files"]

VOCABULARY = 50_000
LETTERS = "etaoinshrdlucmfwypvbgkqjxz"


def zipf_files(folder: Path, *, total_bytes: int, files: int, seed: int = 7) -> list[Path]:
    """`files` files of `total_bytes` together, in lines of 4 to 16 words; made once, then kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"text-{number:02d}.txt" for number in range(files)]
    words = _vocabulary(random.Random(seed))
    weights = list(itertools.accumulate(1.0 / rank for rank in range(1, VOCABULARY + 1)))
    for number, path in enumerate(paths):
        if not path.exists():
            staged = path.with_suffix(".new")
            _write(staged, total_bytes // files, words, weights, random.Random(seed + 1 + number))
            staged.rename(path)
    return paths


def _vocabulary(draw: random.Random) -> list[str]:
    """Distinct words, short ones first, as in a language."""
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        length = 2 + min(len(words) // 400, 6) + draw.randrange(4)
        words["".join(draw.choices(LETTERS, weights=range(26, 0, -1), k=length))] = None
    return list(words)


def _write(path: Path, size: int, words: list[str], weights: list[float], draw: random.Random) -> None:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            drawn = iter(draw.choices(words, cum_weights=weights, k=20_000))
            while line := list(itertools.islice(drawn, draw.randrange(4, 17))):
                written += file.write(" ".join(line) + "\n")
