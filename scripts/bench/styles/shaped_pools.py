"""The work of shaped_jobs.py on a multiprocessing.Pool, as plain as one would write it.

Whole tables lie in the memory of every process, and the parent puts the results together.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from styles.job_pools import write
from styles.shaped_jobs import ROUNDS, WHOLE, share_of

__all__ = ["SHAPED_POOLS", "customers_of", "joined_to", "words_of", "write_index"]

_shared: dict[str, list[str]] = {}
"""What each process of a pool has: the targets of each page, or the name of each customer in a list."""


def words_of(path: str) -> tuple[str, set[str]]:
    return Path(path).name, set(Path(path).read_text().split())


def run_index(files: list[Path], output: Path, workers: int) -> None:
    with multiprocessing.Pool(workers) as pool:
        write_index(pool.imap(words_of, sorted(map(str, files))), output)
        pool.close()
        pool.join()


def write_index(files: Iterable[tuple[str, set[str]]], output: Path) -> None:
    """`files` are names with their words, in the order of the names."""
    index: defaultdict[str, list[str]] = defaultdict(list)
    for name, words in files:
        for word in words:
            index[word].append(name)
    rows = sorted(index.items())
    write((f"{word}\t{json.dumps(names, separators=(',', ':'))}\n".encode() for word, names in rows), output)


def customers_of(path: str) -> dict[str, list[str]]:
    with open(path, newline="") as file:
        return {row["customer"]: [row["name"]] for row in csv.DictReader(file)}


def load_customers(path: str) -> None:
    _shared.update(customers_of(path))


def joined(path: str) -> bytes:
    return joined_to(path, _shared)


def joined_to(path: str, known: dict[str, list[str]]) -> bytes:
    with open(path, newline="") as file:
        found = ((row, known.get(row["customer"])) for row in csv.DictReader(file))
        lines = [
            f"{row['order']}\t{row['customer']} {named[0]} {row['cents']}\n" for row, named in found if named
        ]
    return "".join(lines).encode()


def run_join(files: list[Path], output: Path, workers: int) -> None:
    """`files` are those of the orders, and last the customers."""
    *orders, customers = map(str, files)
    with multiprocessing.Pool(workers, load_customers, (customers,)) as pool:
        write(pool.imap(joined, orders), output)
        pool.close()
        pool.join()


def links_of(path: str) -> dict[str, list[str]]:
    links: defaultdict[str, list[str]] = defaultdict(list)
    with open(path) as file:
        for line in file:
            source, target = line.split()
            links[source].append(target)
    return dict(links)


def shares(ranks: list[tuple[str, int]]) -> Counter[str]:
    """What the pages of one process give to others."""
    given: Counter[str] = Counter()
    for page, rank in ranks:
        targets = _shared[page]
        share = share_of(rank, len(targets))
        for target in targets:
            given[target] += share
    return given


def run_pagerank(files: list[Path], output: Path, workers: int) -> None:
    _shared.clear()
    with multiprocessing.Pool(workers) as pool:
        for links in pool.imap(links_of, map(str, files)):
            for page, targets in links.items():
                _shared.setdefault(page, []).extend(targets)
        pool.close()
        pool.join()
    ranks = dict.fromkeys(_shared, WHOLE)
    with multiprocessing.Pool(workers) as pool:  # forked now: each process has all links
        for _ in range(ROUNDS):
            ranks = _next_round(ranks, pool.imap(shares, _cut(list(ranks.items()), workers)))
        pool.close()
        pool.join()
    _shared.clear()
    write((f"{page}\t{rank}\n".encode() for page, rank in sorted(ranks.items())), output)


def _cut(rows: list[tuple[str, int]], parts: int) -> list[list[tuple[str, int]]]:
    return [rows[part::parts] for part in range(parts)]


def _next_round(ranks: Iterable[str], given: Iterable[Counter[str]]) -> dict[str, int]:
    total = dict.fromkeys(ranks, WHOLE * 15 // 100)
    for each in given:
        for page, share in each.items():
            total[page] += share
    return total


SHAPED_POOLS: dict[str, Callable[[list[Path], Path, int], None]] = {
    "index_record": run_index,
    "join_broadcast": run_join,
    "join_hash": run_join,
    "join_merge": run_join,
    "pagerank": run_pagerank,
    "pagerank_in_place": run_pagerank,
}
