"""Keys by their last change: what a dict of all keys says, page by page."""

from __future__ import annotations

from random import Random

import pytest

from ringmill.node.replica.watching import changed_keys
from ringmill.node.replica.watching.changed_keys import ChangedKeys


@pytest.mark.parametrize("seed", range(20))
def test_each_key_is_there_once_in_the_order_of_its_last_change(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draws = Random(seed)
    monkeypatch.setattr(changed_keys, "PAGE", draws.choice([1, 4, 16]))
    changed, last, number = ChangedKeys(), dict[bytes, int](), 0
    names = [b"k%d" % each for each in range(draws.choice([1, 10, 100]))]
    for _ in range(500):
        what = draws.random()
        if what < 0.01:
            changed.clear()
            last.clear()
        elif what < 0.2 and last:
            oldest = next(iter(last))
            assert changed.forget_oldest() == last.pop(oldest)
        else:
            key = draws.choice(names)
            number += draws.choice([1, 1, 5])
            last.pop(key, None)
            last[key] = number
            changed.note(key, number)
        assert (len(changed), changed.size_bytes) == (len(last), sum(map(len, last)))
        assert len(changed._pages) <= max(1, len(last))
    for place in range(number + 2):
        read, at = list[bytes](), place
        while page := changed.behind(at):
            read += [key for _, key in page]
            at = page[-1][0]
        assert read == [key for key, each in last.items() if each > place]


def test_one_key_that_changes_all_the_time_leaves_few_pages() -> None:
    changed = ChangedKeys()
    for number in range(20_000):
        changed.note(b"hot" if number % 10 else b"k%d" % number, number)
    assert len(changed) == 2_001 and len(changed._pages) <= 4
