"""Ranks of members of a sorted set, which are counted and not sorted."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.gateway.redis.commands.command_spec import COMMANDS, KeyCall
from ringmill.client.gateway.redis.commands.command_table import load_commands
from ringmill.client.gateway.redis.store.typed_values import Entry, SortedSet
from ringmill.cluster.adapters.os_entropy import OsEntropy

load_commands()
SCORES = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5, 2.0, math.inf])


@given(st.dictionaries(st.binary(max_size=2), SCORES, min_size=1, max_size=8))
def test_a_rank_is_the_place_in_the_order(scores: dict[bytes, float]) -> None:
    members = SortedSet(scores)
    order = [member for member, _ in members.in_order()]
    for name, expected in ((b"ZRANK", order), (b"ZREVRANK", order[::-1])):
        run = COMMANDS[name].one_key
        assert run is not None
        told = [run(KeyCall([member], Entry(members), 0, 2, OsEntropy())) for member in expected]
        assert told == list(range(len(order)))
