"""Count words: each word of the input, in lower case, with how often it occurs.

ringmill job run examples/wordcount.py:wordcount --input 'books/*.txt' --output counts
"""

from collections.abc import Iterable, Iterator

from ringmill import FileInput, FileOutput, job


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word.lower(), 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


wordcount = job(
    map=words,
    combine=total,
    reduce=total,
    input=FileInput(format="lines"),
    output=FileOutput(format="tsv"),
)
