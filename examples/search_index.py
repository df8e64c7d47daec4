"""Build an inverted index in a keyspace, for each word the files it occurs in, and search it.

ringmill keyspace create index
ringmill job run examples/search_index.py:search_index --input 'books/*.txt' --output kv:index
python examples/search_index.py 127.0.0.1:7101 white whale
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator

import ringmill
from ringmill import Client, Collect, FileInput, KvOutput, job

WORD = re.compile(r"\w+")
LONGEST = 200  # a key has at most 1,024 bytes, and a letter at most four


def words_of_file(path: str, text: str) -> Iterator[tuple[str, str]]:
    for word in set(WORD.findall(text.lower())):
        if len(word) <= LONGEST:
            yield word, path


search_index = job(
    map=words_of_file,
    reduce=Collect(),
    input=FileInput(format="file"),
    output=KvOutput("index"),
)


def holding_all(found: Iterable[bytes | None]) -> list[str]:
    """The files that hold all words, sorted; `found` has the value of each word's key, None where there is
    none."""
    files = [set(json.loads(value)) if value is not None else set() for value in found]
    return sorted(set.intersection(*files)) if files else []


def search(db: Client, query: str) -> list[str]:
    """The files that hold all words of a query.  After two jobs at once a word may have two lists."""
    words = WORD.findall(query.lower())
    items = ringmill.raise_first(db.keyspace("index").mget(words))
    return holding_all(item.value if item is not None else None for item in items)


if __name__ == "__main__":
    with Client(sys.argv[1]) as db:
        sys.stdout.writelines(f"{path}\n" for path in search(db, " ".join(sys.argv[2:])))
