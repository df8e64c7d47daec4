"""How fast a sweep goes."""

from __future__ import annotations

import pytest

from ringmill.client.gateway.redis.expiry.sweep_pace import Looked, rest_s


@pytest.mark.parametrize(
    ("looked", "keys_s"),
    [
        (Looked(16, 0, 0, 0.0), 5.0),
        (Looked(16, 2, 0, 0.0), 100.0),
        (Looked(16, 4, 0, 0.0), 200.0),
        (Looked(16, 16, 0, 0.0), 200.0),
    ],
)
def test_it_goes_as_fast_as_there_is_something_to_remove(looked: Looked, keys_s: float) -> None:
    assert rest_s(looked, 200) == pytest.approx(looked.keys / keys_s)


def test_large_values_take_their_time() -> None:
    assert rest_s(Looked(16, 16, 16 << 20, 0.0), 200) == pytest.approx((16 + 1024) / 200)


def test_it_rests_as_long_as_it_works_at_least() -> None:
    assert rest_s(Looked(16, 16, 0, 3.0), 200) == 3.0
    assert rest_s(Looked(16, 0, 0, 1.2), 200) == pytest.approx(2.0)
    assert rest_s(Looked(0, 0, 0, 0.0), 1) == 0.0
