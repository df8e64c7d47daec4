"""Which owner of a key is asked first, under each policy."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.routing.balanced_watch import BalancedWatch
from ringmill.client.routing.balancing import (
    POLICIES,
    REFUSAL_COUNTS,
    BalanceName,
    Balancer,
    LeastLatency,
    RoundRobin,
    balancer_named,
)
from ringmill.cluster.errors import Conflict, DiskFull, Overloaded, RingmillError

ADDRESSES = [f"n{number}:1" for number in range(1, 6)]
OWNERS = 3


def one(name: BalanceName, client: bytes = b"client") -> Balancer:
    balancer = balancer_named(name, client)
    assert balancer is not None
    return balancer


def firsts(balancer: Balancer, times: int, weights: dict[str, int] | None = None) -> Counter[str]:
    def weight_of(address: str) -> int:
        return (weights or {}).get(address, 1)

    return Counter(balancer.order(list(ADDRESSES), OWNERS, weight_of, 0.0)[0] for _ in range(times))


def test_hash_is_the_order_of_the_ring() -> None:
    assert POLICIES[0] == "hash" and balancer_named("hash", b"") is None


@given(
    name=st.sampled_from(POLICIES[1:]),
    events=st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans(), st.floats(0, 5))),
    owners=st.integers(1, 5),
)
def test_each_policy_orders_all_and_keeps_owners_before_others(
    name: BalanceName, events: list[tuple[str, bool, float]], owners: int
) -> None:
    balancer = one(name)
    for now, (address, has_begun, took_s) in enumerate(events):
        balancer.began(address)
        if has_begun:
            balancer.ended(address, took_s, now)
        ordered = balancer.order(list(ADDRESSES), owners, lambda _: 2, now)
        assert sorted(ordered) == ADDRESSES
        if name != "sticky":
            assert sorted(ordered[:owners]) == ADDRESSES[:owners]


def test_round_robin_asks_each_owner_as_often() -> None:
    assert firsts(one("round-robin"), 30) == dict.fromkeys(ADDRESSES[:OWNERS], 10)


def test_weighted_asks_by_weight_and_not_in_bursts() -> None:
    weights = {ADDRESSES[0]: 3, ADDRESSES[1]: 1, ADDRESSES[2]: 1}
    assert firsts(one("weighted"), 50, weights) == dict(zip(ADDRESSES, (30, 10, 10), strict=False))
    assert set(firsts(one("weighted"), 3, weights)) == set(ADDRESSES[:OWNERS]) - {ADDRESSES[2]}


def test_a_sticky_client_keeps_to_one_node_and_clients_differ() -> None:
    assert all(len(firsts(one("sticky", bytes([number])), 20)) == 1 for number in range(20))
    chosen = Counter(next(iter(firsts(one("sticky", bytes([number])), 1))) for number in range(100))
    assert set(chosen) == set(ADDRESSES)


def test_when_a_member_goes_only_its_sticky_clients_change() -> None:
    for number in range(50):
        balancer = one("sticky", bytes([number]))
        before = balancer.order(list(ADDRESSES), OWNERS, lambda _: 1, 0.0)[0]
        after = balancer.order(ADDRESSES[:-1], OWNERS, lambda _: 1, 0.0)[0]
        assert after == before or before == ADDRESSES[-1]


def test_least_connections_asks_who_has_least_under_way() -> None:
    balancer = one("least-connections")
    for _ in range(3):
        balancer.began(ADDRESSES[0])
    balancer.began(ADDRESSES[1])
    assert set(firsts(balancer, 10)) == {ADDRESSES[2]}
    balancer.ended(ADDRESSES[1], 0.1, 1.0)
    assert set(firsts(balancer, 10)) == {ADDRESSES[1], ADDRESSES[2]}


@pytest.mark.parametrize("name", ["least-connections", "least-latency"])
def test_among_equals_who_says_that_it_has_less_to_do_is_asked_first(name: BalanceName) -> None:
    balancer = one(name)
    balancer.loaded(ADDRESSES[0], 200, 0.0)
    balancer.loaded(ADDRESSES[1], 70, 0.0)
    assert set(firsts(balancer, 10)) == {ADDRESSES[2]}
    balancer.began(ADDRESSES[2])
    assert name == "least-latency" or set(firsts(balancer, 10)) == {ADDRESSES[1]}, (
        "its own requests come first"
    )
    balancer.loaded(ADDRESSES[0], 0, 0.0)
    balancer.loaded(ADDRESSES[2], 255, 0.0)
    assert ADDRESSES[0] in set(firsts(balancer, 10))


def test_least_latency_avoids_a_slow_node_and_tries_it_again_later() -> None:
    balancer = one("least-latency")
    for address, took_s in zip(ADDRESSES, (1.0, 0.010, 0.011), strict=False):
        balancer.began(address)
        balancer.ended(address, took_s, 0.0)
    assert set(firsts(balancer, 10)) == {ADDRESSES[1]}
    for now in range(100):
        balancer.began(ADDRESSES[1])
        balancer.ended(ADDRESSES[1], 0.010, float(now))
    assert balancer.order(list(ADDRESSES), OWNERS, lambda _: 1, 100.0)[0] != ADDRESSES[1]


def test_least_latency_takes_a_fast_refusal_for_no_fast_answer() -> None:
    """One owner's disk is full: it says so within 1 ms, and the others sync for 8 ms."""
    balancer, asked, now = one("least-latency"), Counter[str](), 0.0
    for _ in range(1000):
        first, second = balancer.order(list(ADDRESSES), OWNERS, lambda _: 1, now)[:2]
        asked[first] += 1
        for address in (first, second):
            took_s = 0.001 if address == ADDRESSES[0] else 0.008
            balancer.began(address)
            now += took_s
            balancer.ended(address, took_s, now, is_done=address != ADDRESSES[0])
            if address != ADDRESSES[0]:
                break
    assert asked[ADDRESSES[0]] <= 2, asked


def test_refusals_of_several_owners_do_not_add_up() -> None:
    balancer, now = one("least-latency"), 0.0
    for number in range(1000):
        address = ADDRESSES[number % OWNERS]
        took_s, is_done = (0.008, True) if number < OWNERS else (0.001, False)
        balancer.began(address)
        now += took_s
        balancer.ended(address, took_s, now, is_done=is_done)
    assert isinstance(balancer, LeastLatency)
    assert max(balancer._mean_s.values()) <= REFUSAL_COUNTS * 0.008


def test_a_node_that_has_left_no_longer_says_what_a_refusal_costs() -> None:
    balancer = LeastLatency()
    balancer.ended("gone:1", 5.0, now=0.0)
    for now in (59.0, 119.0):
        balancer.ended("n1:1", 0.01, now)
    balancer.ended("n2:1", 0.001, 120.0, is_done=False)
    assert balancer._mean_s["n2:1"] == REFUSAL_COUNTS * 0.01


class _Request:
    begun_at = 0.0
    slow_at = math.inf

    def slow(self) -> None:
        raise AssertionError

    def silent(self, error: RingmillError) -> None:
        raise AssertionError


async def test_a_balancer_is_told_which_requests_were_refused() -> None:
    heard: list[bool] = []

    class Hearing(RoundRobin):
        def ended(self, address: str, took_s: float, now: float, *, is_done: bool = True) -> None:
            heard.append(is_done)

    class Nobody:
        is_over = True

        def answered_at(self, name: str) -> float:
            return 0.0

        def inquire(self, name: str) -> None: ...

        def fell_silent(self, name: str) -> None: ...

    watch = BalancedWatch(Nobody(), Hearing())
    for told in (b"answer", Conflict("holds another"), DiskFull("full"), Overloaded("busy"), None):
        watch.begin("n1:1", request := _Request())
        watch.end("n1:1", request, told)
    assert heard == [True, True, False, False, True]


@pytest.mark.parametrize("name", ["least-connections", "least-latency"])
def test_requests_under_way_spread_a_burst(name: BalanceName) -> None:
    balancer, asked = one(name), Counter[str]()
    for address in ADDRESSES[:OWNERS]:
        balancer.began(address)
        balancer.ended(address, 0.01, 0.0)
    for _ in range(30):
        first = balancer.order(list(ADDRESSES), OWNERS, lambda _: 1, 0.0)[0]
        balancer.began(first)
        asked[first] += 1
    assert max(asked.values()) - min(asked.values()) <= 1
