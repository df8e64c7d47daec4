"""PageRank against a matrix of links, multiplied until nothing moves."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from examples.pagerank import pagerank
from ringmill import run_local


def test_ranks_are_those_of_the_rounds_done_by_hand(tmp_path: Path) -> None:
    random = Random(1)
    links = {(f"p{random.randrange(40)}", f"p{int(random.random() ** 2 * 30)}") for _ in range(150)}
    (tmp_path / "links.txt").write_text("".join(f"{source} {target}\n" for source, target in sorted(links)))
    result = run_local(pagerank, str(tmp_path / "links.txt"), str(tmp_path / "out"))
    pages = sorted({page for link in links for page in link})
    out = {page: [target for source, target in links if source == page] for page in pages}
    ranks, rounds, moved = dict.fromkeys(pages, 1.0), 0, 0
    while True:
        shares = dict.fromkeys(pages, 0.15)
        for page, targets in out.items():
            for target in targets:
                shares[target] += 0.85 * ranks[page] / len(targets)
        changed = sum(abs(shares[page] - ranks[page]) > 0.001 for page in pages)
        ranks, rounds, moved = shares, rounds + 1, moved + changed
        if not changed:
            break
    found = [line.split("\t") for line in (tmp_path / "out" / "part-00000").read_text().splitlines()]
    assert {page: float(rank) for page, rank in found} == pytest.approx(ranks)
    assert [float(rank) for _, rank in found] == sorted((float(rank) for _, rank in found), reverse=True)
    assert result.counters["moved"] == moved and 5 < rounds < 50
