"""The jobs that simulated clusters run: the places of each word, in order, so that nothing may be lost,
doubled or swapped unseen.

`places` has one input.  `grouped` has two, and its keys order the places; `paired` joins two, and each of its
map tasks reads the second one, which planning notes in the job's description.  `chained` has four stages,
`asked` has five: a function ends its rounds, and a join with the files follows.  `kept` has six, three of
which are rounds that keep the places of a word in its part, and send only what other words hear of them.

It is packed into a bundle and loaded from there, as any user's job.  In some runs its map says something
else in every task process, which its reduce drops: then no two outputs of a map are equal.  In some a word
is an error, and lines with it are set aside.
"""

from collections.abc import Iterable, Iterator

from ringmill.cluster.mapreduce.api.chains.chain import iterate, pipeline
from ringmill.cluster.mapreduce.api.chains.round_result import RoundResult
from ringmill.cluster.mapreduce.api.definition import job
from ringmill.cluster.mapreduce.api.formats import FileInput
from ringmill.cluster.mapreduce.api.joining.joins import join
from ringmill.cluster.mapreduce.api.sources import Source
from ringmill.cluster.mapreduce.context import Context

__all__ = ["asked", "chained", "grouped", "kept", "paired", "places"]

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


def ordered(offset: int, line: str, ctx: Context) -> Iterator[tuple[tuple[str, int], str]]:
    for word, place in words(offset, line, ctx):
        yield (word, -offset), place


def pair(word: str, place: str, other: str | None) -> Iterator[tuple[str, str]]:
    yield word, " ".join(each.partition(" ")[0] for each in (place, other) if each is not None)


places = job(map=words, combine=None, reduce=joined, reducers=2)
grouped = job(sources=[Source("all", ordered), Source("some", ordered)], reduce=joined, group_by=1)


def turned(word: str, places: str, ctx: Context) -> Iterator[tuple[str, str]]:
    ctx.count("turned")
    yield word, " ".join(reversed(places.split()))


def first(word: str, places: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield word, " ".join(places)


def settled(result: RoundResult) -> bool:
    return result.number >= 2 and result.counters["turned"] == sum(1 for _ in result.records())


_RECORDS = FileInput("records")
_placed = job(map=words, reduce=joined, reducers=2)
_round = job(map=turned, reduce=first, input=_RECORDS, reducers=3)
_last = job(map=turned, input=_RECORDS, reducers=0)
chained = pipeline(_placed, iterate(_round, max=2), _last)
_beside = join(Source("placed", turned, input=_RECORDS), Source("some", words), how="left", result=pair)
asked = pipeline(_placed, iterate(_round, max=3, until=settled), _beside, _last)


def hinted(word: str, places: str, ctx: Context) -> Iterator[tuple[str, str]]:
    """To two words, of which some have no places of their own."""
    ctx.count("hinted")
    said = f" in {process}" if ctx.params["differs"] else ""
    for step in (1, 4):
        yield f"w{(int(word[1:]) + step) % 10}", f"{word}.{len(places)}{said}"


def noted(word: str, places: str | None, hints: Iterable[str], ctx: Context) -> str | None:
    ctx.count("noted")
    heard = " ".join(hint.partition(" ")[0] for hint in hints)
    if word == "w9" and places is not None:
        return None  # it comes and goes
    return f"{places or word} {heard}"[-80:]


_kept_round = job(map=hinted, update=noted, input=_RECORDS, reducers=3, params={"differs": ""})
kept = pipeline(_placed, iterate(_kept_round, max=3))
paired = join(Source("all", words), Source("some", words), how="left", result=pair)
