r"""The k most frequent values of one column for each value of another, in one job.

    ringmill job run examples/top_k.py:top_k --input 'sales/*.csv' --output top \
        --param group=shop --param item=product --param k=10

The key is (group, item), and all keys with the same group are one call of reduce, sorted by item.  So a group
is counted as it passes, and k counts are kept in memory, however many items it has.
"""

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter

from ringmill import Context, FileInput, FileOutput, job

Key = tuple[str, str]
"""Group and item."""
Counted = tuple[str, int]
"""An item and how often it was seen."""


def item_of(line: int, row: dict[str, str], ctx: Context) -> Iterator[tuple[Key, Counted]]:
    item = row[ctx.params["item"]]
    yield (row[ctx.params["group"]], item), (item, 1)


def summed(key: Key, counts: Iterable[Counted]) -> Iterator[tuple[Key, Counted]]:
    yield key, (key[1], sum(count for _, count in counts))


def most_frequent(
    group: str, counts: Iterable[Counted], ctx: Context
) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """The most frequent first; of equally frequent ones the first in the alphabet."""
    totals = ((item, sum(count for _, count in some)) for item, some in groupby(counts, itemgetter(0)))
    yield group, nsmallest(int(ctx.params["k"]), totals, key=lambda each: (-each[1], each[0]))


top_k = job(
    map=item_of,
    combine=summed,
    reduce=most_frequent,
    group_by=1,
    input=FileInput(format="csv"),
    output=FileOutput(format="jsonl"),
    params={"group": "group", "item": "item", "k": "10"},
)
