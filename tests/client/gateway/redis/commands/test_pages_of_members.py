"""HSCAN, SSCAN and ZSCAN: what callers may rely on while a value changes between two pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.gateway.redis.commands.arguments.pages_of_members import page_of_members


@given(
    st.integers(0, 900),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=6),
    st.integers(1, 1000),
)
def test_a_member_that_stays_is_in_one_page(size: int, removed: list[tuple[int, int]], count: int) -> None:
    members = {b"%d" % number for number in range(size)}
    stays = members - {b"%d" % number for low, high in removed for number in range(low, high)}
    cursor, seen, changes = b"0", list[bytes](), list(removed)
    while True:
        cursor, page = page_of_members(cursor, [b"COUNT", b"%d" % count], members)
        seen += page
        if cursor == b"0":
            break
        if changes:
            low, high = changes.pop()
            members -= {b"%d" % number for number in range(low, high)}
            members |= {b"new %d" % number for number in range(low, high)}
    assert stays <= set(seen)
    assert len(seen) == len(set(seen))


def test_a_pattern_may_leave_a_page_empty_and_the_scan_goes_on() -> None:
    members = [b"%d" % number for number in range(1000)]
    cursor, seen = b"0", list[bytes]()
    for _ in range(5):
        cursor, page = page_of_members(cursor, [b"MATCH", b"99?"], members)
        seen += page
        if cursor == b"0":
            break
    assert sorted(seen) == [b"99%d" % digit for digit in range(10)]
