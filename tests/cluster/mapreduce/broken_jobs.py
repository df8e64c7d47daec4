"""Jobs that fail while they run."""

from collections.abc import Iterator

from ringmill import job


def parse(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, int(line)


numbers = job(map=parse)
