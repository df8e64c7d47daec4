"""The levels of a keyspace that is restored into a cluster with another number of replicas."""

from __future__ import annotations

import pytest

from ringmill.client.backups.backup_restore import restored_levels


@pytest.mark.parametrize(
    ("levels", "then_n", "now_n", "expected"),
    [
        ((2, 2), 3, 5, (None, None)),
        ((2, 2), 3, 1, (None, None)),
        ((1, 3), 3, 5, (1, 5)),
        ((3, 1), 3, 5, (5, 1)),
        ((1, 1), 3, 5, (1, 1)),
        ((1, 2), 3, 5, (1, None)),
        ((2, 1), 2, 3, (None, None)),
        ((2, 4), 5, 7, (2, 6)),
        ((4, 4), 5, 3, (3, 3)),
        ((1, 3), 3, 2, (1, None)),
    ],
)
def test_levels_keep_what_they_were_for(
    levels: tuple[int, int], then_n: int, now_n: int, expected: tuple[int | None, int | None]
) -> None:
    assert restored_levels(*levels, then_n, now_n) == expected


def test_reads_that_met_every_write_still_do() -> None:
    for then_n in range(1, 8):
        for now_n in range(1, 8):
            for r in range(1, then_n + 1):
                for w in range(then_n - r + 1, then_n + 1):
                    majority = now_n // 2 + 1
                    new_r, new_w = restored_levels(r, w, then_n, now_n)
                    assert now_n < (new_r or majority) + (new_w or majority)
                    assert max(new_r or 0, new_w or 0) <= now_n
