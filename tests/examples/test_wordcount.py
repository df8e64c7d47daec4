"""Word count against an oracle written another way: the command line's tr, sort and uniq."""

from __future__ import annotations

import subprocess
from pathlib import Path

from examples.wordcount import wordcount
from ringmill import run_local

TEXT = Path(__file__).parents[2] / "LICENSE"


def test_the_licence_has_the_words_that_sort_and_uniq_count(tmp_path: Path) -> None:
    run_local(wordcount, str(TEXT), str(tmp_path / "out"))
    ours = b"".join(part.read_bytes() for part in sorted((tmp_path / "out").glob("part-*")))
    pipeline = r"tr 'A-Z' 'a-z' | tr -s ' \n' '\n\n' | grep -v '^$' | sort | uniq -c"
    told = subprocess.run(
        ["sh", "-c", pipeline], stdin=TEXT.open("rb"), capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    theirs = {tuple(reversed(line.split())) for line in told.stdout.splitlines()}
    assert {tuple(line.split(b"\t")) for line in ours.splitlines()} == theirs
