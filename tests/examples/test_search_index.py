"""A search of the index in a keyspace against a look into each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.search_index import holding_all, search_index
from ringmill import read_output, run_local

TEXTS = {
    "a.txt": "The quick brown fox",
    "b.txt": "the lazy dog, the end",
    "c.txt": "Quick! A brown dog; naïve",
    "empty.txt": "",
}


@pytest.fixture
def index(tmp_path: Path) -> dict[str, bytes]:
    """What the job would put, from the folder that it leaves where no keyspace is named."""
    (tmp_path / "books").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "books" / name).write_text(text)
    run_local(search_index, f"{tmp_path}/books", f"{tmp_path}/out")
    return {key.decode(): value for key, value in read_output(f"{tmp_path}/out")}


@pytest.mark.parametrize("query", ["quick", "the", "quick brown", "brown dog", "naïve", "fox dog", "unicorn"])
def test_a_search_finds_the_files_that_hold_all_words(index: dict[str, bytes], query: str) -> None:
    words = query.split()
    found = [Path(path).name for path in holding_all(map(index.get, words))]
    assert found == [
        name for name, text in TEXTS.items() if all(word in text.lower().split() or
        any(word == each.strip("!,;") for each in text.lower().split()) for word in words)
    ]  # fmt: skip
