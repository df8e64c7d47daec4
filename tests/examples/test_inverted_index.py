"""The inverted index against one built forwards: for each word, ask each file whether it holds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from examples.inverted_index import inverted_index
from ringmill import run_local


def test_each_word_names_the_files_that_hold_it(tmp_path: Path) -> None:
    texts = {
        "a.txt": "The quick brown fox",
        "b.txt": "the lazy dog, the end",
        "deep/c.txt": "Quick! A dog; naïve",
        "empty.txt": "",
    }
    (tmp_path / "books" / "deep").mkdir(parents=True)
    for name, text in texts.items():
        (tmp_path / "books" / name).write_text(text)
    run_local(inverted_index, str(tmp_path / "books"), str(tmp_path / "out"))
    ours = {}
    for part in sorted((tmp_path / "out").glob("part-*")):
        for line in part.read_text().splitlines():
            word, paths = line.split("\t")
            ours[word] = [str(Path(path).relative_to(tmp_path / "books")) for path in json.loads(paths)]
    for word, names in ours.items():
        assert names == [
            n for n, text in sorted(texts.items()) if re.search(rf"\b{word}\b", text, re.IGNORECASE)
        ]
    assert set(ours) == {"the", "quick", "brown", "fox", "lazy", "dog", "end", "a", "naïve"}
