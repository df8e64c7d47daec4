"""Inputs and outputs that are written as URLs: file:// is a path, everything else is refused.

Pure.  Without this s3://bucket/key would be taken for a path below the current folder, and not be found.
"""

from __future__ import annotations

import re
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["path_of"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def path_of(name: str, text: str) -> str:
    """The path that `text` is or, as file://PATH, names; characters stand for themselves, as in fsspec.

    Raises InvalidArgument, which says `name`, for another URL.
    """
    found = _SCHEME.match(text)
    if found is None:
        return text
    path = text[found.end() :]
    if found[1].lower() != "file":
        raise InvalidArgument(
            f"{name} {text[:200]!r} is a URL of a kind that is not read; tasks read and write files",
            hint="mount it, or copy it to where all nodes see it, and give the path",
        )
    if not path.startswith("/"):
        raise InvalidArgument(f"{name} {text[:200]!r} names another machine; write file:///PATH")
    return path
