"""Where keys lie: frozen positions, tags, and partitions as slices of the circle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.hashing import hash_tag, partition_of, partition_start, position

DEFAULT = KeyspaceId(1, 0)
LOCKS = KeyspaceId(3, 1)


def test_positions_are_the_ones_stored_data_lies_at() -> None:
    assert position(DEFAULT, b"user:42") == 0xE0BA18599B634021
    assert position(LOCKS, b"user:42") == 0x7CAEE5ACE7ACA4D6
    assert position(DEFAULT, b"") == 0xAF8A366C0B48C68B
    assert position(DEFAULT, b"{user:42}") == 0x9FC1E605FA7174AA


def test_a_tag_brings_keys_of_all_keyspaces_together() -> None:
    assert (
        position(DEFAULT, b"{user:42}:name")
        == position(LOCKS, b"cart{user:42}")
        != position(DEFAULT, b"user:42")
    )


def test_only_the_first_closed_pair_of_braces_with_something_in_it_is_a_tag() -> None:
    assert hash_tag(b"a{b}c{d}") == b"b"
    assert hash_tag(b"a{{b}}") == b"{b"
    assert [hash_tag(key) for key in (b"", b"a", b"{", b"}a{", b"a{}b{c}")] == [None] * 5


@given(st.binary(max_size=40), st.integers(4, 12))
def test_a_position_lies_in_its_partition(key: bytes, bits: int) -> None:
    place, partitions = position(DEFAULT, key), 1 << bits
    partition = partition_of(place, partitions)
    assert 0 <= partition < partitions
    assert (
        partition_start(partition, partitions)
        <= place
        < partition_start(partition, partitions) + (1 << 64 - bits)
    )
