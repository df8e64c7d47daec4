"""Bodies to send to a node: real ones that were changed, and values of any shape.

Real ones are taken from simulated clusters, which send what nodes and clients send.  A changed one has one
leaf of another type or size, lacks its end, or has a flipped bit; so it gets further into a node than random
bytes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import msgpack

from ringmill.simulator.options import usual_options
from ringmill.simulator.run import quiet, run_seed
from ringmill.simulator.world.transport import SimulatedTransport

__all__ = ["Bodies", "recorded"]

_KEPT: Final = 200  # of each method
_RUNS: Final = (("objects", "registers", "watches"), ("moves", "merging"), ("scans",), ("jobs",))
_ODD: Final[tuple[Any, ...]] = (
    0, 1, -1, 2, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 0.5, float("nan"), None, True, "", "n1",
    "n2", "default", "x" * 300, "\udc80", b"", b"k", b"\0" * 4096, [], {}, [[]], ["job", 1], {"a": 1},
)  # fmt: skip


def recorded(seed: int) -> dict[str, list[bytes]]:
    """Bodies by method, as simulated nodes and clients have sent them."""
    bodies: dict[str, list[bytes]] = {}
    with quiet(), _heard(bodies):
        for number, subjects in enumerate(_RUNS):
            run_seed(seed + number, usual_options(subjects))
    return bodies


@contextmanager
def _heard(bodies: dict[str, list[bytes]]) -> Iterator[None]:
    ask = SimulatedTransport._ask

    def noting(transport: SimulatedTransport, to: Any, method: str, body: bytes, *rest: Any) -> int:
        known = bodies.setdefault(method, [])
        if len(known) < _KEPT:
            known.append(body)
        return ask(transport, to, method, body, *rest)

    SimulatedTransport._ask = noting  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        SimulatedTransport._ask = ask  # type: ignore[method-assign]


class Bodies:
    """Draws bodies, from a seed."""

    def __init__(self, known: dict[str, list[bytes]], seed: int) -> None:
        self.methods = sorted(known)
        self._known = known
        self._draws = Random(seed)

    def one(self) -> tuple[str, bytes]:
        """A method and a body for it."""
        method = self._draws.choice(self.methods)
        return method, self.body_of(method)

    def body_of(self, method: str) -> bytes:
        """A body for a method, which may be one that nobody has."""
        change: Callable[[bytes], bytes] = self._draws.choice((_cut, _flipped, _leaf, _leaf, _leaf, _any))(
            self._draws
        )
        return change(self._draws.choice(self._known.get(method) or [b"\x90"]))


def _cut(draws: Random) -> Callable[[bytes], bytes]:
    return lambda body: body[: draws.randrange(len(body) + 1)] + draws.randbytes(draws.choice((0, 0, 1, 9)))


def _flipped(draws: Random) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        if not body:
            return b"\xc1"
        at = draws.randrange(len(body))
        return body[:at] + bytes([body[at] ^ (1 << draws.randrange(8))]) + body[at + 1 :]

    return change


def _leaf(draws: Random) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        try:
            value = msgpack.unpackb(body, strict_map_key=False)
        except (ValueError, msgpack.UnpackException):
            return _flipped(draws)(body)  # it is no msgpack: one of the public messages
        return _packed(_with_odd(value, draws))

    return change


def _with_odd(value: Any, draws: Random) -> Any:
    if isinstance(value, list) and value and draws.random() < 0.9:
        at = draws.randrange(len(value))
        changed = [*value[:at], _with_odd(value[at], draws), *value[at + 1 :]]
        return changed[: draws.choice((None, None, at + 1))]
    return draws.choice(_ODD)


def _any(draws: Random) -> Callable[[bytes], bytes]:
    return lambda _: _packed([draws.choice(_ODD) for _ in range(draws.randrange(9))])


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed
