"""Cut what each visitor did into visits: a new one begins after half an hour without a page.

    ringmill job run examples/sessionize.py:sessionize --input 'clicks/*.jsonl' --output visits

A line of the input is `{"visitor": "v1", "at": 1714564800, "page": "/cart"}`, with the time in seconds.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from ringmill import Context, FileInput, FileOutput, job

Click = tuple[int, str]
Visit = tuple[int, int, list[str]]
"""When it began, how many seconds it took, and the pages in order."""


def click_of(offset: int, record: dict[str, Any]) -> Iterator[tuple[str, Click]]:
    yield record["visitor"], (record["at"], record["page"])


def visits_of(visitor: str, clicks: Iterable[Click], ctx: Context) -> Iterator[tuple[str, Visit]]:
    pause_s = 60 * int(ctx.params["pause_minutes"])
    began, last, pages = 0, 0, list[str]()
    for at, page in sorted(clicks):
        if pages and at - last > pause_s:
            yield visitor, (began, last - began, pages)
            pages = []
        if not pages:
            began = at
        last = at
        pages.append(page)
    yield visitor, (began, last - began, pages)


sessionize = job(
    map=click_of,
    reduce=visits_of,
    input=FileInput(format="jsonl"),
    output=FileOutput(format="jsonl"),
    params={"pause_minutes": "30"},
)
