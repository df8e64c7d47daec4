"""What a level's text means for a row."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.quorum.levels import holders_for_a_strict_read, majority, parse_level


@pytest.mark.parametrize(
    ("text", "owners", "level"),
    [("", 3, 2), ("", 1, 1), ("one", 3, 1), ("quorum", 3, 2), ("quorum", 4, 3), ("all", 5, 5), ("3", 3, 3)],
)
def test_a_level_is_counted_from_the_owners_there_are(text: str, owners: int, level: int) -> None:
    assert parse_level(text, owners, default=2) == level


@pytest.mark.parametrize("text", ["0", "4", "-1", "1.5", "most", "ONE", "²", "9" * 400])
def test_a_level_that_cannot_be_met_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(InvalidArgument, match="1 to 3"):
        parse_level(text, 3, default=2)


@pytest.mark.parametrize("owners", range(1, 8))
def test_a_read_of_r_owners_always_meets_one_of_the_holders(owners: int) -> None:
    for r in range(majority(owners), owners + 1):
        holders = holders_for_a_strict_read(owners, r)
        assert holders + r > owners
        assert holders <= r
