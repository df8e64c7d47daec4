"""Keys and mixes: the shares that were asked for, and the same operations from the same seed."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from ringmill.client.bench.keys import KeySpace, numbers
from ringmill.client.bench.workloads import (
    GET,
    INSERT,
    MODIFY,
    PUT,
    SCAN,
    WORKLOADS,
    Operation,
    Values,
    operations,
)
from ringmill.cluster.ring.hashing import hash_tag

KEYS = 1_000
DRAWS = 50_000


def drawn(distribution: str, seed: int = 7) -> list[int]:
    return list(itertools.islice(numbers(distribution, KeySpace(KEYS), seed), DRAWS))


def of(workload: str, count: int = DRAWS, keys: int = KEYS) -> tuple[list[Operation], KeySpace]:
    space = KeySpace(keys)
    return list(itertools.islice(operations(WORKLOADS[workload], "uniform", space, 7), count)), space


@pytest.mark.parametrize("distribution", ["uniform", "zipf", "latest"])
def test_only_keys_that_are_there_are_drawn_and_a_seed_draws_them_again(distribution: str) -> None:
    assert set(drawn(distribution)) <= set(range(KEYS))
    assert drawn(distribution) == drawn(distribution)
    assert drawn(distribution) != drawn(distribution, seed=8)


def test_keys_in_groups_share_a_hash_tag_and_are_in_order_within_it() -> None:
    space = KeySpace(0, "k:", group=100)
    keys = [space.key(space.grow()) for _ in range(250)]
    assert keys[0] == b"k:{0000000}000" and keys[249] == b"k:{0000002}049"
    assert keys == sorted(keys) and len({hash_tag(key) for key in keys}) == 3


def test_uniform_keys_come_about_equally_often() -> None:
    counts = Counter(drawn("uniform"))
    assert max(counts.values()) < 3 * DRAWS / KEYS


def test_the_most_popular_zipf_key_has_the_share_that_the_law_gives_it() -> None:
    shares = [rank**-0.99 for rank in range(1, KEYS + 1)]
    counts = Counter(drawn("zipf")).most_common(2)
    for (_, count), share in zip(counts, shares, strict=False):
        assert count / DRAWS == pytest.approx(share / sum(shares), rel=0.1)


def test_the_latest_key_is_drawn_most_often() -> None:
    assert Counter(drawn("latest")).most_common(1)[0][0] == KEYS - 1


@pytest.mark.parametrize(
    ("workload", "shares"),
    [
        ("put", {PUT: 1.0}),
        ("a", {GET: 0.5, PUT: 0.5}),
        ("b", {GET: 0.95, PUT: 0.05}),
        ("c", {GET: 1.0}),
        ("d", {GET: 0.95, INSERT: 0.05}),
        ("e", {SCAN: 0.95, INSERT: 0.05}),
        ("f", {GET: 0.5, MODIFY: 0.5}),
    ],
)
def test_a_workload_has_the_mix_of_ycsb(workload: str, shares: dict[str, float]) -> None:
    counts = Counter(verb for verb, _ in of(workload)[0])
    assert set(counts) == set(shares)
    for verb, share in shares.items():
        assert counts[verb] / DRAWS == pytest.approx(share, rel=0.1)


def test_inserts_are_of_keys_that_were_not_there_and_are_read_soon_after() -> None:
    done, space = of("d")
    there = {space.key(number) for number in range(KEYS)}
    inserted = [key for verb, key in done if verb == INSERT]
    assert len(set(inserted)) == len(inserted)
    assert there.isdisjoint(inserted)
    assert space.count == KEYS + len(inserted)
    assert {key for verb, key in done if verb == GET} & set(inserted)


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="uniform, zipf, latest"):
        next(numbers("normal", KeySpace(1), 7))


@pytest.mark.parametrize("size_bytes", [16, 100, 65_536])
def test_values_have_their_size_and_differ(size_bytes: int) -> None:
    values = Values(size_bytes)
    made = {values.next() for _ in range(100)}
    assert len(made) == 100
    assert {len(value) for value in made} == {size_bytes}
