"""What clients ask in a run: a list of operations drawn once from the seed, so that it can be shrunk.

Mostly few keys, so that sessions meet; one of them hot.  Values are unique, so that "who wrote this" is a
look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

from ringmill.simulator.history import Kind
from ringmill.simulator.subjects.objects.mix import USUAL, Mix

__all__ = ["PlannedOperation", "draw_workload", "with_touches", "with_ttl"]

_TTL_RUNS: Final = 1 / 2
_TTL_CHANCE: Final = 1 / 4
_TOUCH_CHANCE: Final = 1 / 3
_TTLS_S: Final = (1.0, 3.0, 10.0, 7200.0)


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """One operation that a session will ask for."""

    index: int
    session: str
    kind: Kind
    key: bytes
    value: bytes
    context: Literal[
        "last", "none", "blind"
    ]  # the session's last one of this key, or none, or a true sibling
    level: str  # "" is the keyspace's default
    durability: str  # "" is "sync"
    pause_s: float  # before asking
    ttl_s: float | None = None  # of a put or touch


def draw_workload(
    draws: Random, *, operations: int, sessions: int, keys: int, mix: Mix = USUAL
) -> list[PlannedOperation]:
    """Plans of `operations` operations over `sessions` sessions; a session asks one after the other."""
    names = [b"hot", *(b"key-%d" % number for number in range(1, min(keys, mix.most_keys)))]
    return [_draw(draws, mix, index, f"s{draws.randrange(sessions)}", names) for index in range(operations)]


def _draw(draws: Random, mix: Mix, index: int, session: str, names: list[bytes]) -> PlannedOperation:
    kind: Kind = draws.choices(("put", "get", "delete"), mix.kinds)[0]
    return PlannedOperation(
        index=index,
        session=session,
        kind=kind,
        key=names[0] if draws.random() < mix.hot else draws.choice(names),
        value=b"%s-%d" % (session.encode(), index),
        context=draws.choices(("last", "none", "blind"), mix.contexts)[0] if kind == "put" else "last",
        level=_named(draws, mix.levels),
        durability=_named(draws, mix.durabilities) if kind != "get" else "",
        pause_s=draws.choice(mix.pauses_s) * draws.random(),
    )


def _named(draws: Random, shares: Mapping[str, int]) -> str:
    return draws.choices(list(shares), list(shares.values()))[0]


def with_ttl(draws: Random, plans: list[PlannedOperation]) -> list[PlannedOperation]:
    """The plans; in one run of two some puts have a ttl.  A stream of its own draws it, so that the rest of a
    seed's workload stays what it was."""
    if draws.random() >= _TTL_RUNS:
        return plans
    found = []
    for plan in plans:
        has_ttl, ttl_s = draws.random() < _TTL_CHANCE, draws.choice(_TTLS_S)
        found.append(replace(plan, ttl_s=ttl_s) if has_ttl and plan.kind == "put" else plan)
    return found


def with_touches(draws: Random, plans: list[PlannedOperation]) -> list[PlannedOperation]:
    """The plans; where values have a ttl, some reads become touches."""
    if all(plan.ttl_s is None for plan in plans):
        return plans
    found = []
    for plan in plans:
        is_touched, ttl_s = draws.random() < _TOUCH_CHANCE, draws.choice((*_TTLS_S, None))
        is_touched = is_touched and plan.kind == "get"
        found.append(replace(plan, kind="touch", context="none", ttl_s=ttl_s) if is_touched else plan)
    return found
