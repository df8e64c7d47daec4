"""Near duplicates against comparing the shingles of each pair of documents."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random

from examples.near_duplicates import SHINGLE, near_duplicates
from ringmill import run_local
from tests.examples.records import records_of

WORDS = 400


def shingles_of(path: Path) -> set[tuple[str, ...]]:
    words = path.read_text().split()
    return {tuple(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)}


def test_documents_that_share_most_shingles_are_reported_as_pairs_once(tmp_path: Path) -> None:
    random = Random(1)
    (tmp_path / "texts").mkdir()
    words = [f"w{number}" for number in range(300)]
    first = random.choices(words, k=WORDS)
    for number in range(8):
        text = random.choices(words, k=WORDS) if number > 4 else list(first)
        for _ in range(4 * number):
            text[random.randrange(WORDS)] = random.choice(words)
        (tmp_path / "texts" / f"{number}.txt").write_text(" ".join(text))
    run_local(near_duplicates, str(tmp_path / "texts"), str(tmp_path / "out"), params={"likeness": "0.6"})
    told = [tuple(pair) for pair, _ in records_of(tmp_path / "out")]
    assert len(told) == len(set(told))
    for pair in combinations(sorted(map(str, (tmp_path / "texts").iterdir())), 2):
        one, other = (shingles_of(Path(path)) for path in pair)
        likeness = len(one & other) / len(one | other)
        if abs(likeness - 0.6) > 0.12:  # 64 hashes tell a likeness to about 0.06
            assert (pair in told) == (likeness > 0.6)
    assert len(told) > 4
