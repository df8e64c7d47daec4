"""Entity tags: what If-Match and If-None-Match carry, in quotes."""

from __future__ import annotations

import re
from typing import Final

from ringmill.client.values import CausalContext
from ringmill.cluster.errors import InvalidArgument

__all__ = ["MOST_ETAG", "etag_of", "given_etag", "weak_etag"]

MOST_ETAG: Final = 7000
"""Characters that fit into a header of common servers and proxies.  A longer context is told in JSON only."""
_ETAG: Final = re.compile(r'(?:W/)?"([!#-~]*)"')


def etag_of(context: CausalContext | None) -> dict[str, str]:
    """The header ETag for a context; none for a context that is too long, or for no context."""
    if context is None or not context.token:
        return {}
    text = context.text
    return {} if len(text) > MOST_ETAG else {"ETag": f'"{text}"'}


def given_etag(name: str, header: str) -> str:
    """What stands between the quotes, or "*".  Raises InvalidArgument for anything else, and for several."""
    given = header.strip()
    if given == "*":
        return given
    found = _ETAG.fullmatch(given)
    if found is None:
        raise InvalidArgument(
            f"{name} is {header[:60]!r}; it must be one ETag in quotes, or *",
            hint="send the ETag of the read, unchanged",
        )
    return found[1]


def weak_etag(header: str) -> str:
    """The weak form of a tag: for an answer with other bytes that mean the same."""
    return header if header.startswith("W/") else f"W/{header}"
