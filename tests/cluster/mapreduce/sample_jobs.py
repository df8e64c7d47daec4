"""Jobs for the kernels' tests."""

from collections.abc import Iterable, Iterator

from ringmill import Collect, Context, Count, Distinct, FileOutput, Max, Sum, Top, job

PLACES: list[tuple[str, list[int]]] = []


def place_of(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split(" "):
        yield word, offset


def all_places(word: str, offsets: Iterable[int]) -> Iterator[tuple[str, list[int]]]:
    yield word, list(offsets)


def one(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split(" "):
        yield word, 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def length(word: str, values: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    yield word, sum(map(len, values))


def blobs(offset: int, line: str) -> Iterator[tuple[str, bytes]]:
    yield line[:1], line.encode() * 100


def other_key(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word + "!", sum(counts)


def wrong_value(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, line  # type: ignore[misc]


def wrong_key(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield offset, 1  # type: ignore[misc]


def nothing(offset: int, line: str) -> Iterator[tuple[str, int]]:
    return None  # type: ignore[return-value]


def singles(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield from line  # type: ignore[misc]


def long_values(offset: int, line: str) -> Iterator[tuple[str, str]]:
    yield line, "x" * 8192 if line == "zzz" else "x"


def greedy(offset: int, line: str) -> Iterator[tuple[str, int]]:
    raise MemoryError
    yield line, 1


def drawn(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, float]]:
    yield line, ctx.rng.random()


def listed(offset: int, line: str) -> Iterator[tuple[str, list[int]]]:
    yield line, [offset]


def joined(word: str, lists: Iterable[list[int]]) -> Iterator[tuple[str, list[int]]]:
    yield word, [each for some in lists for each in some]


def booked(offset: int, line: str) -> Iterator[tuple[str, int]]:
    name, amount = line.split(" ")
    yield name, int(amount)


def unless_nothing(name: str, amounts: Iterable[int]) -> Iterator[tuple[str, int]]:
    if balance := sum(amounts):
        yield name, balance


lists = job(map=listed, combine=joined, reduce=joined, output=FileOutput(format="jsonl"))
balances = job(map=booked, combine=unless_nothing, reduce=total, reducers=1)
places = job(map=place_of, reduce=all_places, output=FileOutput(format="jsonl"))
counts = job(map=one, combine=total, reduce=total)
uncombined = job(map=one, reduce=total)
sizes = job(map=blobs, reduce=length)
renamed = job(map=one, combine=other_key, reduce=total)
dice = job(map=drawn)
mapped = job(map=one)


def shares(offset: int, line: str) -> Iterator[tuple[str, float]]:
    for word in line.split(" "):
        yield word, offset / 7


folded = job(map=one, reduce=Sum())
counted = job(map=place_of, reduce=Count())
counted_first = job(map=place_of, combine=Count(), reduce=total)
lastly = job(map=place_of, combine=Max(), reduce=Max())
latest = job(map=place_of, reduce=Top(3), output=FileOutput(format="jsonl"))
distinct = job(map=place_of, reduce=Distinct(), output=FileOutput(format="jsonl"))
collected = job(map=place_of, reduce=Collect(), output=FileOutput(format="jsonl"))
weighed = job(map=shares, reduce=Sum())


def added(word: str, amounts: Iterable[float]) -> Iterator[tuple[str, float]]:
    yield word, sum(amounts)


rounded = job(map=shares, combine=added, reduce=added)
