"""The job that simulated clusters run: the places of each word, in order, so that nothing may be lost,
doubled or swapped unseen.

It is packed into a bundle and loaded from there, as any user's job.  In some runs its map says something
else in every task process, which its reduce drops: then no two outputs of a map are equal.  In some a word
is an error, and lines with it are set aside.
"""

from collections.abc import Iterable, Iterator

from ringmill.cluster.mapreduce.api.definition import job
from ringmill.cluster.mapreduce.context import Context

__all__ = ["places"]

process = "here"  # a simulated task process writes its name here, as a real one has a pid


def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, str]]:
    ctx.count("lines")
    said = f" in {process}" if "differs" in ctx.params else ""
    for number, word in enumerate(line.split()):
        if word == ctx.params.get("bad"):
            raise ValueError(f"{word} has no place")
        yield word, f"{offset}.{number}{said}"


def joined(word: str, places: Iterable[str], ctx: Context) -> Iterator[tuple[str, str]]:
    ctx.count("words")
    yield word, " ".join(place.partition(" ")[0] for place in places)


places = job(map=words, combine=None, reduce=joined, reducers=2)
