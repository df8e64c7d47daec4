"""Stored keys of one copy lie together, apart from every other copy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.ids import Epoch, KeyspaceId, PartitionId
from ringmill.node.replica.stored_key import (
    Copy,
    HintKey,
    Kind,
    Place,
    copy_prefix,
    hint_key,
    kind_prefix,
    meta_key,
    parse_hint_key,
    parse_object_key,
    prefix_end,
)

copies = st.builds(Copy, st.integers(0, 4095).map(PartitionId), st.integers(1, 2**63 - 1).map(Epoch))
keyspaces = st.builds(KeyspaceId, st.integers(1, 2**63 - 1), st.integers(0, 2**32 - 1))
places = st.builds(Place, copies, keyspaces, st.binary(min_size=1, max_size=40))


@given(places, places)
def test_a_key_lies_in_the_range_of_its_own_copy_only(place: Place, other: Place) -> None:
    start = copy_prefix(place.copy)
    end = prefix_end(start)
    assert start <= place.stored_key < end
    assert (start <= other.stored_key < end) == (other.copy == place.copy)
    assert parse_object_key(place.stored_key) == place


@given(places)
def test_hints_objects_and_meta_state_never_mix(place: Place) -> None:
    hint = HintKey(place.copy.partition, place.keyspace, place.key)
    assert parse_hint_key(hint_key(hint)) == hint
    ranges = [(kind_prefix(kind), prefix_end(kind_prefix(kind))) for kind in Kind]
    for stored in (place.stored_key, hint_key(hint), meta_key("topology")):
        assert sum(start <= stored < end for start, end in ranges) == 1


def test_the_end_of_a_prefix_carries_over_full_bytes() -> None:
    assert prefix_end(b"\x10\xff\xff") == b"\x11"
