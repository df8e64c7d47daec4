"""Count words: each word of the input, in lower case, with how often it occurs.

ringmill job run examples/wordcount.py:wordcount --input 'books/*.txt' --output counts
"""

from collections.abc import Iterator

from ringmill import FileInput, FileOutput, Sum, job


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word.lower(), 1


wordcount = job(
    map=words,
    reduce=Sum(),
    input=FileInput(format="lines"),
    output=FileOutput(format="tsv"),
)
