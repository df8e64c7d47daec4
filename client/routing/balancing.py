"""Which of the owners of a key a client asks first.

By default it is the first owner in the order of the ring: requests about one key meet at one node, and many
keys spread over all.  Other policies spread the requests about each key over its owners, or keep to one node.
Two of them take the loads that nodes tell of, among owners that are alike to them (rule G4).  Nodes that do
not answer, or refuse, are asked last under each policy (candidates.py, breakers.py).  Pure: time is passed
in.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import exp
from typing import Final, Literal, Protocol, TypeAlias, get_args

from ringmill.cluster.overload.told_loads import ToldLoads

__all__ = ["POLICIES", "BalanceName", "Balancer", "balancer_named"]

WEIGH_NEWEST: Final = 0.2  # of the mean of answer times
REFUSAL_COUNTS: Final = 4  # times the longest mean of another node: it is asked again after 14 s
LATELY_S: Final = 60.0  # who was not heard for longer may be gone, and sets no cost
FORGET_S: Final = 10.0  # a time that is that old counts for a third: a node that was slow is tried again


class Balancer(Protocol):
    """Orders addresses, and hears of each request that is sent and ends.  `now` is on the loop's clock."""

    def order(
        self, addresses: list[str], owners: int, weight_of: Callable[[str], int], now: float
    ) -> list[str]:
        """The addresses, the best first; the first `owners` of them own the key."""
        ...

    def began(self, address: str) -> None:
        """A request is being sent there."""
        ...

    def ended(self, address: str, took_s: float, now: float, *, is_done: bool = True) -> None:
        """A request has ended; not `is_done` when the node has refused or failed what another one may do."""
        ...

    def loaded(self, address: str, load: int, now: float) -> None:
        """The node there has told how much it has under way, of all clients: 0 to 255."""
        ...


class _Silent:
    """Needs to hear nothing."""

    def began(self, address: str) -> None:
        pass

    def ended(self, address: str, took_s: float, now: float, *, is_done: bool = True) -> None:
        pass

    def loaded(self, address: str, load: int, now: float) -> None:
        pass


class RoundRobin(_Silent):
    """The owners in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def order(
        self, addresses: list[str], owners: int, weight_of: Callable[[str], int], now: float
    ) -> list[str]:
        self._turn += 1
        start = self._turn % max(1, owners)
        return addresses[start:owners] + addresses[:start] + addresses[owners:]


class Weighted(_Silent):
    """The owners in turn, each as often as its weight in the topology says (smooth, as nginx does it)."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def order(
        self, addresses: list[str], owners: int, weight_of: Callable[[str], int], now: float
    ) -> list[str]:
        weights = {address: weight_of(address) for address in addresses[:owners]}
        for address, weight in weights.items():
            self._due[address] = self._due.get(address, 0.0) + weight
        ordered = sorted(weights, key=lambda address: -self._due[address])
        if ordered:
            self._due[ordered[0]] -= sum(weights.values())
        return ordered + addresses[owners:]


class Sticky(_Silent):
    """One node for everything, drawn by the name of this client; it forwards what it does not own."""

    def __init__(self, client: bytes) -> None:
        self._client = client
        self._scores: dict[str, bytes] = {}

    def order(
        self, addresses: list[str], owners: int, weight_of: Callable[[str], int], now: float
    ) -> list[str]:
        preferred = max(addresses, key=self._score)
        return [preferred, *(address for address in addresses if address != preferred)]

    def _score(self, address: str) -> bytes:
        """Rendezvous hashing: when a member comes or goes, few clients change theirs."""
        score = self._scores.get(address)
        if score is None:
            score = blake2b(address.encode(), key=self._client, digest_size=8).digest()
            self._scores[address] = score
        return score


class LeastConnections:
    """The owner with the fewest requests of this client under way; among equals the one that has least to do
    for all clients, as it says, and in turn."""

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        self._loads = ToldLoads()
        self._turns = RoundRobin()

    def order(
        self, addresses: list[str], owners: int, weight_of: Callable[[str], int], now: float
    ) -> list[str]:
        turned = self._turns.order(addresses, owners, weight_of, now)
        first, busy = turned[:owners], self._loads.quarters(now)
        if busy:
            first.sort(key=lambda address: busy.get(address, 0))
        return sorted(first, key=self.under_way) + turned[owners:]

    def under_way(self, address: str) -> int:
        return self._under_way.get(address, 0)

    def began(self, address: str) -> None:
        self._under_way[address] = self.under_way(address) + 1

    def ended(self, address: str, took_s: float, now: float, *, is_done: bool = True) -> None:
        self._under_way[address] = self.under_way(address) - 1

    def loaded(self, address: str, load: int, now: float) -> None:
        self._loads.heard(address, load, now)


class LeastLatency:
    """The owner with the shortest answer times lately, times the requests that it has under way."""

    def __init__(self) -> None:
        self._counts = LeastConnections()
        self._mean_s: dict[str, float] = {}
        self._answer_s: dict[str, float] = {}  # the same of answers alone, so that no refusal counts others
        self._heard_at: dict[str, float] = {}

    def order(
        self, addresses: list[str], owners: int, weight_of: Callable[[str], int], now: float
    ) -> list[str]:
        turned = self._counts.order(addresses, owners, weight_of, now)
        return sorted(turned[:owners], key=lambda address: self._cost(address, now)) + turned[owners:]

    def _cost(self, address: str, now: float) -> float:
        """0 for one that was not asked yet, so that it is."""
        mean_s = self._mean_s.get(address, 0.0)
        faded = mean_s * exp((self._heard_at.get(address, now) - now) / FORGET_S)
        return faded * (1 + self._counts.under_way(address))

    def began(self, address: str) -> None:
        self._counts.began(address)

    def loaded(self, address: str, load: int, now: float) -> None:
        self._counts.loaded(address, load, now)

    def ended(self, address: str, took_s: float, now: float, *, is_done: bool = True) -> None:
        self._counts.ended(address, took_s, now)
        if not is_done:  # a fast refusal is not a fast answer
            others = (
                each
                for name, each in self._answer_s.items()
                if name != address and now - self._heard_at[name] <= LATELY_S
            )
            took_s = max(took_s, REFUSAL_COUNTS * max(others, default=0.0))
        else:
            self._answer_s[address] = _with_newest(self._answer_s.get(address, took_s), took_s)
        self._mean_s[address] = _with_newest(self._mean_s.get(address, took_s), took_s)
        self._heard_at[address] = now


def _with_newest(mean_s: float, took_s: float) -> float:
    """A time above the mean counts at once, so that a node which gets slow is noticed by one late answer."""
    return took_s if took_s > mean_s else mean_s + WEIGH_NEWEST * (took_s - mean_s)


BalanceName: TypeAlias = Literal[
    "hash", "round-robin", "weighted", "sticky", "least-connections", "least-latency"
]
POLICIES: Final = get_args(BalanceName)


def balancer_named(name: BalanceName, client: bytes) -> Balancer | None:
    """A new balancer; None for "hash", the order of the ring.  `client` is the name of this client, up to 64
    bytes."""
    kinds: dict[str, Callable[[], Balancer]] = {
        "round-robin": RoundRobin,
        "weighted": Weighted,
        "sticky": lambda: Sticky(client),
        "least-connections": LeastConnections,
        "least-latency": LeastLatency,
    }
    return None if name == "hash" else kinds[name]()
