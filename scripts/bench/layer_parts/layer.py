"""One layer of the request path: a piece of work that can be done again and again, alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["FRAME", "GET_CALLS", "KEY", "NODES", "PUT_CALLS", "VALUE", "Layer", "Work"]

KEY = b"key:000000000042"
VALUE = b"v" * 100
NODES = ("n1", "n2", "n3")
FRAME = 8  # operations in a frame, about what three nodes carry at 64 in flight
PUT_CALLS, GET_CALLS = 1 + 2 / FRAME, 1 + 1 / FRAME
"""The client's call, and those to other owners, each of which the requests of a frame share."""

Work = Callable[[], object]
AsyncWork = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Layer:
    """`work` does the layer `each` times; `puts` and `gets` is how often a put or a get does it, client and
    all nodes together: three nodes, N=3, w=r=2, one value under the key, 64 in flight."""

    name: str
    puts: float
    gets: float
    work: Work | None = None
    async_work: AsyncWork | None = None
    each: int = 1
