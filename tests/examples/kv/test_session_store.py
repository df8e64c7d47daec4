"""A session that was ended stays ended, whatever visits were under way."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from tests.e2e.cli.undisturbed.recipe_files import recipe


class Siblings:
    """Keys as an object keyspace keeps them: a write takes the place of what its context covers, and without
    one of all that is there."""

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[int, bytes, timedelta | None]]] = {}
        self.writes = 0

    def get(self, key: str, default: None = None) -> SimpleNamespace | None:
        kept = self.kept.get(key)
        if not kept:
            return default
        values = tuple(value for _, value, _ in kept)
        return SimpleNamespace(siblings=values, newest=values[-1], context={dot for dot, _, _ in kept})

    def put(
        self, key: str, value: bytes, *, context: set[int] | None = None, ttl: timedelta | None = None
    ) -> None:
        self.writes += 1
        there = self.kept.get(key, [])
        left = [each for each in there if context is not None and each[0] not in context]
        self.kept[key] = [*left, (self.writes, value, ttl)]

    def delete(self, key: str) -> None:
        self.kept[key] = []


def test_a_visit_at_the_moment_of_the_end_brings_no_session_back(monkeypatch: pytest.MonkeyPatch) -> None:
    store, db = recipe("session_store"), Siblings()
    token = store.begin(db, {"user": "ada"})
    real = Siblings.put

    def put_late(self: Siblings, key: str, value: bytes, **given: object) -> None:
        monkeypatch.setattr(Siblings, "put", real)
        store.end(self, token)
        real(self, key, value, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(Siblings, "put", put_late)
    assert store.visit(db, token) == {"user": "ada"}, "it has begun before the end"
    assert store.visit(db, token) is None
    lifetimes = [ttl for _, _, ttl in db.kept[f"session:{token}"]]
    assert None not in lifetimes and max(lifetimes) > store.AWAY, "the mark outlasts the visit"  # type: ignore[type-var]


def test_visits_at_one_moment_leave_one_session() -> None:
    store, db = recipe("session_store"), Siblings()
    token = store.begin(db, {"user": "ada"})
    db.put(f"session:{token}", b'{"user": "ada"}', context=set(), ttl=store.AWAY)
    assert store.visit(db, token) == {"user": "ada"}
    assert len(db.kept[f"session:{token}"]) == 1
    assert store.visit(db, "of nobody") is None
