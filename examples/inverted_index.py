"""Build an inverted index: for each word, the files it occurs in, in the order of their paths.

ringmill job run examples/inverted_index.py:inverted_index --input 'books/*.txt' --output index
"""

import re
from collections.abc import Iterator

from ringmill import Collect, FileInput, FileOutput, job

WORD = re.compile(r"\w+")


def words_of_file(path: str, text: str) -> Iterator[tuple[str, str]]:
    for word in set(WORD.findall(text.lower())):
        yield word, path


inverted_index = job(
    map=words_of_file,
    reduce=Collect(),
    input=FileInput(format="file"),
    output=FileOutput(format="tsv"),
)
