"""The job of simulated clusters that reads one keyspace and writes another: the keys that hold each word."""

from collections.abc import Iterable, Iterator

from ringmill.cluster.mapreduce.api.definition import job
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, KvOutput

__all__ = ["holders"]


def words(key: str, values: list[str]) -> Iterator[tuple[str, str]]:
    """A put that was repeated may have left its value twice."""
    for word in sorted({word for value in values for word in value.split()}):
        yield word, key


def sorted_keys(word: str, keys: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    yield word, sorted(keys)


holders = job(map=words, reduce=sorted_keys, input=KvInput(), output=KvOutput())
