"""Requests about one key begin in their order; those about different keys do not wait for each other."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from ringmill.client.routing.key_order import KeyOrder


@dataclass
class Model:
    """What began and has not ended, and what was asked for, by key."""

    order: KeyOrder[tuple[int, bool]] = field(default_factory=KeyOrder)
    running: list[tuple[bytes, int, bool]] = field(default_factory=list)
    began: list[int] = field(default_factory=list)

    def ask(self, number: int, key: bytes, *, is_write: bool) -> None:
        if self.order.enter(key, (number, is_write), is_write=is_write):
            self.begin(key, number, is_write=is_write)

    def end(self, at: int) -> None:
        key, _, _ = self.running.pop(at)
        for number, is_write in self.order.leave(key):
            self.begin(key, number, is_write=is_write)

    def begin(self, key: bytes, number: int, *, is_write: bool) -> None:
        beside = [one for one in self.running if one[0] == key]
        assert not (beside and is_write) and not any(one[2] for one in beside)
        self.running.append((key, number, is_write))
        self.began.append(number)


@pytest.mark.parametrize("seed", range(20))
def test_a_write_has_its_key_alone_and_nothing_overtakes_on_one_key(seed: int) -> None:
    drawn, model = random.Random(seed), Model()
    keys = [drawn.choice([b"a", b"b", b"c"]) for _ in range(300)]
    for number, key in enumerate(keys):
        model.ask(number, key, is_write=drawn.random() < 0.4)
        while model.running and drawn.random() < 0.6:
            model.end(drawn.randrange(len(model.running)))
    while model.running:
        model.end(drawn.randrange(len(model.running)))
    for key in set(keys):
        of_key = [number for number in model.began if keys[number] == key]
        assert of_key == [number for number, one in enumerate(keys) if one == key]
    assert not model.order._lines, "nothing is kept of keys that nobody asks for any more"
