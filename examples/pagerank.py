"""PageRank: which pages are linked to most, by pages that are linked to themselves.

    ringmill job run examples/pagerank.py:pagerank --input 'links/*.txt' --output ranks

A line of the input is a link, `FROM TO`.  Each round a page hands 0.85 of its rank on, in equal shares to the
pages that it links to, and gets 0.15 and the shares of others; what a page without links has is lost.  The
rounds end when no rank has moved by more than the parameter says, or after 50.  Only shares are sent: rank
and links of a page stay in its part (`update`).  The output is sorted, the highest rank first.
"""

from collections.abc import Iterable, Iterator

from ringmill import Context, FileInput, Sum, iterate, job, pipeline

Page = tuple[float, list[str]]
"""Its rank, and the pages that it links to."""

RECORDS = FileInput("records")
DAMPING = 0.85


def link_of(offset: int, line: str) -> Iterator[tuple[str, str]]:
    words = line.split()
    if len(words) == 2:
        yield words[0], words[1]
        yield words[1], ""  # a page, whether it links or not


def page_of(page: str, targets: Iterable[str]) -> Iterator[tuple[str, Page]]:
    yield page, (1.0, sorted({target for target in targets if target}))


def shares_of(page: str, state: Page) -> Iterator[tuple[str, float]]:
    rank, targets = state
    for target in targets:
        yield target, rank / len(targets)


def ranked(page: str, state: Page | None, shares: Iterable[float], ctx: Context) -> Page:
    former, targets = state or (0.0, [])
    rank = 1 - DAMPING + DAMPING * sum(shares)
    ctx.count("moved", int(abs(rank - former) > float(ctx.params["closeness"])))
    return rank, targets


def by_rank(page: str, state: Page) -> Iterator[tuple[tuple[float, str], None]]:
    yield (-state[0], page), None


def shown(key: tuple[float, str], nothing: Iterable[None]) -> Iterator[tuple[str, float]]:
    yield key[1], -key[0]


pagerank = pipeline(
    job(map=link_of, reduce=page_of),
    iterate(
        job(map=shares_of, combine=Sum(), update=ranked, input=RECORDS, params={"closeness": "0.001"}),
        max=50,
        until="moved",
    ),
    job(map=by_rank, reduce=shown, input=RECORDS, reducers=1),
)
