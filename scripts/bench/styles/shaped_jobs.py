"""The jobs of other shapes that scripts/bench/jobs.py measures: an inverted index, joins, PageRank.

A cluster imports this file, so it has nothing of the benchmarks in it.  Ranks are whole numbers, as a sum of
floats depends on its order, and a pool has another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringmill import Collect, FileInput, Source, Sum, iterate, job, join, pipeline

Row = dict[str, str]
Page = tuple[int, list[str]]
"""Its rank, and the pages that it links to."""

CSV, RECORDS = FileInput("csv"), FileInput("records")
ROUNDS = 5
WHOLE = 10**9
"""The rank of a page at first."""


def words_of_file(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = path.rpartition("/")[2]
    for word in set(text.split()):
        yield word, name


def named(customer: str, order: Row, known: Row) -> Iterator[tuple[str, str]]:
    yield order["order"], f"{customer} {known['name']} {order['cents']}"


def link_of(offset: int, line: str) -> Iterator[tuple[str, str]]:
    source, target = line.split()
    yield source, target


def page_of(page: str, targets: Iterable[str]) -> Iterator[tuple[str, Page]]:
    yield page, (WHOLE, list(targets))


def share_of(rank: int, links: int) -> int:
    return rank * 85 // (100 * links)


def shares_of(page: str, state: Page) -> Iterator[tuple[str, Page]]:
    rank, targets = state
    yield page, (0, targets)
    share = share_of(rank, len(targets))
    for target in targets:
        yield target, (share, [])


def ranked(page: str, pages: Iterable[Page]) -> Iterator[tuple[str, Page]]:
    total, links = WHOLE * 15 // 100, list[str]()
    for share, targets in pages:
        total += share
        links += targets
    yield page, (total, links)


def shares_alone(page: str, state: Page) -> Iterator[tuple[str, int]]:
    rank, targets = state
    share = share_of(rank, len(targets))
    for target in targets:
        yield target, share


def ranked_in_place(page: str, state: Page | None, shares: Iterable[int]) -> Page:
    return WHOLE * 15 // 100 + sum(shares), state[1] if state is not None else []


def rank_of(page: str, state: Page) -> Iterator[tuple[str, int]]:
    yield page, state[0]


index_record = job(map=words_of_file, reduce=Collect(), input=FileInput("file"))
join_broadcast = join(
    Source("orders", input=CSV), Source("customers", input=CSV), on="customer", result=named,
    strategy="broadcast",
)  # fmt: skip
join_hash = join(
    Source("orders", input=CSV), Source("customers", input=CSV), on="customer", result=named,
    strategy="hash",
)  # fmt: skip
join_merge = join(
    Source("orders", input=CSV), Source("customers", input=CSV), on="customer", result=named,
    strategy="merge",
)  # fmt: skip
pagerank_in_place = pipeline(
    job(map=link_of, reduce=page_of),
    iterate(job(map=shares_alone, combine=Sum(), update=ranked_in_place, input=RECORDS), max=ROUNDS),
    job(map=rank_of, input=RECORDS),
)
pagerank = pipeline(
    job(map=link_of, reduce=page_of),
    iterate(job(map=shares_of, reduce=ranked, input=RECORDS), max=ROUNDS),
    job(map=rank_of, input=RECORDS),
)
