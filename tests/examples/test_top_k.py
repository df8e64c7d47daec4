"""The most frequent items of each group against counting them all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from examples.top_k import top_k
from ringmill import broken_laws, run_local
from tests.examples.records import records_of


def test_each_group_has_its_most_frequent_items(tmp_path: Path) -> None:
    random = Random(3)
    rows = [(f"shop{random.randrange(9)}", f"p{int(random.paretovariate(1)) % 40}") for _ in range(4000)]
    for number in range(2):
        text = "".join(f"{shop},x,{product}\n" for shop, product in rows[number::2])
        (tmp_path / f"{number}.csv").write_text("shop,note,product\n" + text)
    params = {"group": "shop", "item": "product", "k": "5"}
    result = run_local(top_k, str(tmp_path / "*.csv"), str(tmp_path / "out"), params=params)
    expected = {}
    for shop in {shop for shop, _ in rows}:
        counts = Counter(product for each, product in rows if each == shop)
        ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        expected[shop] = [list(each) for each in ranked[:5]]
    assert dict(records_of(tmp_path / "out")) == expected
    assert result.records["map_in"] == 4000


def test_it_keeps_the_laws_of_a_combine() -> None:
    rows = [{"group": "a", "item": f"i{number % 3}"} for number in range(40)]
    assert not broken_laws(top_k, rows)
