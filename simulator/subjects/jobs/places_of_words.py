"""The job that simulated clusters run: the places of each word, in order, so that nothing may be lost,
doubled or swapped unseen.

It is packed into a bundle and loaded from there, as any user's job.
"""

from collections.abc import Iterable, Iterator

from ringmill.cluster.mapreduce.api.definition import job
from ringmill.cluster.mapreduce.context import Context

__all__ = ["places"]


def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, str]]:
    ctx.count("lines")
    for number, word in enumerate(line.split()):
        yield word, f"{offset}.{number}"


def joined(word: str, places: Iterable[str], ctx: Context) -> Iterator[tuple[str, str]]:
    ctx.count("words")
    yield word, " ".join(places)


places = job(map=words, combine=None, reduce=joined, reducers=2)
