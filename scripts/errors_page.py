"""Writes the table of error codes into docs/guide.md, from the classes of cluster/errors.py.

python scripts/errors_page.py     a test says when it has to be run again
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from ringmill.cluster import errors
from ringmill.cluster.errors import RingmillError

__all__ = ["PAGE", "with_table"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide.md"
HEAD = "| code | exception | exit | gRPC | HTTP | Redis | what it says |"


def with_table(text: str) -> str:
    """The page with the table as it has to be, in the place of the one that it has."""
    before, _, rest = text.partition(HEAD)
    after = "".join(rest.partition("\n\n")[1:])
    return "\n".join([before + HEAD, "|---|---|---:|---|---:|---|---|", *_rows()]) + (after or "\n")


def _rows() -> Iterator[str]:
    for error in sorted(_classes(), key=lambda each: each.code):
        summary = (inspect.getdoc(error) or "").split("\n\n")[0].replace("\n", " ").replace("  ", " ")
        yield (
            f"| `{error.code}` | `{error.__name__}` | {error.exit_code} | `{error.grpc_status}` | "
            f"{error.http_status} | `{error.redis_prefix}` | {summary} |"
        )


def _classes() -> Iterator[type[RingmillError]]:
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, RingmillError) and each is not RingmillError:
            yield each


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
