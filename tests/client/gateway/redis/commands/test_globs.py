"""Patterns match what they say, and no pattern makes the gateway work for long in one go."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.gateway.redis.commands.arguments.globs import Matching, literal_prefix
from ringmill.client.gateway.redis.commands.arguments.pages_of_members import page_of_members
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.client.gateway.redis.store import database
from ringmill.client.gateway.redis.store.key_index import NamedKey
from ringmill.client.values import CausalContext


def does_match(pattern: bytes, text: bytes) -> bool:
    return Matching(pattern).matches(text)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (b"*", b"", True),
        (b"", b"a", False),
        (b"h?llo", b"hello", True),
        (b"h[^e]llo", b"hello", False),
        (b"h[a-c]llo", b"hbllo", True),
        (b"a*b*c", b"a-b-b-c", True),
        (b"a*b*c", b"a-c-b", False),
        (b"a*a", b"a", False),
        (b"*\n?", b"x\n\n", True),
        (rb"a\*", b"a*", True),
        (rb"a\*", b"ab", False),
        (b"[", b"[", False),
        (b"*[^]*", b"a", True),
    ],
)
def test_patterns(pattern: bytes, text: bytes, matches: bool) -> None:
    assert does_match(pattern, text) is matches
    assert text.startswith(literal_prefix(pattern)) or not matches


def by_trying_all(elements: list[str], text: str) -> bool:
    """As the pattern says, place by place: slow, and sure."""
    reached = {0}
    for element in elements:
        if element == "*":
            reached = set(range(min(reached, default=len(text) + 1), len(text) + 1))
        else:
            taken = {"?": "ab.", "[ab]": "ab", "[^a]": "b."}.get(element, element[-1])
            reached = {at + 1 for at in reached if at < len(text) and text[at] in taken}
    return len(text) in reached


@given(
    st.lists(st.sampled_from(["*", "*", "?", "a", "b", "\\.", "[ab]", "[^a]"]), max_size=9),
    st.text(alphabet="ab.", max_size=12),
)
def test_every_pattern_matches_what_trying_all_places_finds(elements: list[str], text: str) -> None:
    assert does_match("".join(elements).encode(), text.encode()) is by_trying_all(elements, text)


EVIL = {
    "stars": b"a*" * 500 + b"b",
    "a tail": b"*" + b"a" * 500 + b"b",
    "a piece": b"*" + b"a" * 250 + b"b" + b"a" * 250 + b"*",
    "question marks": b"*" + b"?" * 500 + b"b*",
    "groups": b"*" + b"[ab]" * 500 + b"[c]*",
    "gaps": b"*" + b"a?" * 250 + b"b*",
}


@pytest.mark.parametrize("pattern", EVIL.values(), ids=EVIL)
def test_no_pattern_takes_more_than_the_length_of_the_name_times_its_own(pattern: bytes) -> None:
    matching = Matching(pattern)
    assert not matching.matches(b"a" * 1024)
    assert matching.steps <= 1024 * (len(pattern) + 64)


@pytest.mark.parametrize("pattern", [EVIL["groups"], EVIL["gaps"]], ids=["groups", "gaps"])
def test_what_would_take_long_in_one_go_is_refused(pattern: bytes) -> None:
    members = {b"a" * 1000 + b"%d" % number for number in range(1000)}
    with pytest.raises(RedisError, match="takes more than 4194304 comparisons: scan fewer members"):
        page_of_members(b"0", [b"MATCH", pattern, b"COUNT", b"1000"], members)
    names = {b"user:%05d:name" % number for number in range(20_000)}
    found = page_of_members(b"0", [b"MATCH", b"*:??999:*", b"COUNT", b"20000"], names)[1]
    assert sorted(found) == [b"user:%02d999:name" % number for number in range(20)]


def test_a_pattern_has_a_longest_length() -> None:
    with pytest.raises(RedisError, match="a pattern has 5000 bytes, the limit is 4096"):
        Matching(b"?" * 5000)


async def test_other_callers_are_served_while_names_are_compared() -> None:
    names = [NamedKey(b"a" * 1024, False, CausalContext(b"")) for _ in range(40)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    found = [name async for name in database._matched(names, Matching(EVIL["gaps"]))]
    beside.cancel()
    assert not found and turns > 10
