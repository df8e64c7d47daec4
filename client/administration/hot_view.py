"""Which keys and partitions the nodes of a cluster work on most at present, and what can be done about each.

`combine_heat` is pure.  Each node tells what it has counted (cluster/hot/key_heat.py): requests of clients at
the node that coordinated them, and work on its copy for other coordinators.  So the requests of a key are the
sum over all nodes.  Keys are shown, values never; whoever may ask for the status may ask for this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ringmill.client.administration.asking import ask_members
from ringmill.client.administration.ring_view import RingView, above_mean
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Method
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import PartitionId
from ringmill.cluster.wire.stubs.membership_pb2 import HeatRates, HotRequest, HotResponse

__all__ = ["HotKey", "HotPartition", "HotView", "ask_hot", "combine_heat"]

_HOT: Final = Method("/ringmill.v1.Membership/Hot", "", HotResponse)
_TIMES_MEAN: Final = 4.0
_LEAST_S: Final = 10.0
"""Requests a second below which no partition is called hot."""
_LEAST_BYTES: Final = 1 << 20
"""Below which none is called large."""
_LARGE_OBJECT: Final = 64 * 1024
_MOST_OF_IT: Final = 0.5


@dataclass(frozen=True, slots=True)
class HotKey:
    """Requests of clients a second; `bytes_s` are those of the objects, of requests and of copies for them.

    `work_by_node` are operations a second of each node: requests that it coordinates, and what others ask of
    its copy.  Their sum is right to within `error_s`.
    """

    keyspace: str
    key: bytes
    partition: int
    owners: tuple[str, ...]
    reads_s: float
    writes_s: float
    bytes_s: float
    error_s: float
    work_by_node: Mapping[str, float]
    is_spread: bool
    advice: str

    def to_dict(self) -> dict[str, object]:
        """JSON values; a key that is not UTF-8 has its other bytes as \\xNN."""
        return {**asdict(self), "key": self.key.decode("utf-8", "backslashreplace")}


@dataclass(frozen=True, slots=True)
class HotPartition:
    """A partition with over four times the mean of the requests (`is_hot`), or of the bytes (`is_large`)."""

    partition: int
    owners: tuple[str, ...]
    requests_s: float
    stored_bytes: int
    is_hot: bool
    is_large: bool
    advice: str


@dataclass(frozen=True, slots=True)
class HotView:
    """What is hot now: rates fade with a half-life of 5 s.

    `keys` are those with the most requests first, as far as they are known to be more than a chance of the
    samples; `work_by_node` is all work on keys, in operations a second.  `silent` members have not answered,
    or are of a release that does not know the question.
    """

    keys: tuple[HotKey, ...]
    partitions: tuple[HotPartition, ...]
    requests_s: float
    work_by_node: Mapping[str, float]
    silent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The view as JSON values."""
        keys = [each.to_dict() for each in self.keys]
        return {**asdict(self), "keys": keys, "silent": list(self.silent)}


async def ask_hot(directory: Directory, view: RingView, timeout_s: float) -> HotView:
    """Ask every member at once."""

    async def ask(address: str) -> HotResponse:
        return await directory.link(address).call(_HOT, HotRequest(), timeout_s)

    answers = await ask_members(directory, [*view.topology.addresses().values()], ask)
    return combine_heat(view, [each for each in answers.values() if not isinstance(each, RingmillError)])


def combine_heat(view: RingView, answers: Sequence[HotResponse]) -> HotView:
    """What the members that answered have counted, together."""
    keys = sorted(_keys(view, answers), key=lambda each: -(each.reads_s + each.writes_s))
    requests = [0.0] * len(view.topology.rows)
    for answer in answers:
        for at, rates in answer.partitions.items():
            if at < len(requests):
                requests[at] += _requests(rates)
    heard = {answer.node for answer in answers}
    return HotView(
        keys=tuple(keys),
        partitions=tuple(_partitions(view, requests, keys)),
        requests_s=sum(requests),
        work_by_node={
            answer.node: sum(_work(rates) for rates in answer.partitions.values()) for answer in answers
        },
        silent=tuple(member.id for member in view.topology.members if member.id not in heard),
    )


def _keys(view: RingView, answers: Sequence[HotResponse]) -> list[HotKey]:
    """The hot keys whose counts are larger than their possible error."""
    found: dict[tuple[str, bytes], dict[str, Any]] = {}
    for answer in answers:
        for each in answer.keys:
            if each.partition >= len(view.topology.rows):
                continue
            found.setdefault((each.keyspace, each.key), {})[answer.node] = each
    keys: list[HotKey] = []
    for (keyspace, key), by_node in found.items():
        counts = list(by_node.values())
        work = {node: _work(each.rates) for node, each in by_node.items()}
        unknown_s = sum(answer.floor_s for answer in answers if answer.node not in by_node)
        error_s = sum(each.error_s for each in counts) + unknown_s
        if sum(work.values()) <= error_s:
            continue
        reads_s, writes_s, bytes_s = (
            sum(getattr(each.rates, name) for each in counts) for name in ("reads_s", "writes_s", "bytes_s")
        )
        partition = counts[0].partition
        owners = tuple(view.topology.owners(PartitionId(partition)))
        is_spread = any(each.spread for each in counts)
        object_bytes = bytes_s / sum(work.values())
        advice = _advice_on_key(reads_s, writes_s, object_bytes, owners, is_spread=is_spread)
        keys.append(
            HotKey(
                keyspace, key, partition, owners, reads_s, writes_s, bytes_s, error_s, work, is_spread, advice
            )
        )
    return keys


def _partitions(view: RingView, requests: Sequence[float], keys: Sequence[HotKey]) -> list[HotPartition]:
    hot = [at for at in above_mean(requests, _TIMES_MEAN) if requests[at] >= _LEAST_S]
    large = [at for at in view.large_partitions(_TIMES_MEAN) if view.sizes[at] >= _LEAST_BYTES]
    found: list[HotPartition] = []
    for at in dict.fromkeys([*hot, *large]):
        owners = tuple(view.topology.owners(PartitionId(at)))
        advice: list[str] = []
        if at in hot:
            in_it = [each for each in keys if each.partition == at]
            of_first = max((each.reads_s + each.writes_s for each in in_it), default=0.0)
            advice.append(_advice_on_hot(owners, is_one_key=of_first > _MOST_OF_IT * requests[at]))
        if at in large:
            advice.append(
                "it holds over four times the mean: keys with one {tag} share a partition, so give them"
                " several tags, or store less in each value"
            )
        advice_text = "; ".join(advice)
        size = round(view.sizes[at])
        found.append(HotPartition(at, owners, requests[at], size, at in hot, at in large, advice_text))
    return found


def _advice_on_key(
    reads_s: float, writes_s: float, object_bytes: float, owners: Sequence[str], *, is_spread: bool
) -> str:
    names = ", ".join(owners)
    if writes_s > reads_s:
        return (
            f"every write is stored by all of {names}: split the key into several, or count in a keyspace"
            " of policy counter"
        )
    if object_bytes >= _LARGE_OBJECT:
        return (
            f"each read carries about {object_bytes / 1024:,.0f} KiB: split the value, or keep what was read"
            " for a moment in the caller"
        )
    if is_spread:
        return (
            f"its reads are spread over {names}: if that is too little, read with r=1 where a weak read will"
            " do, or keep the value for a moment in the caller"
        )
    return "nothing to do: reads are spread once a node does 200 of them a second, and 5 % of all its reads"


def _advice_on_hot(owners: Sequence[str], *, is_one_key: bool) -> str:
    if is_one_key:
        return "most of its requests are for one key, see above"
    return (
        "it has over four times the mean of the requests: give keys with one {tag} several tags, or"
        f" `ringmill cluster rebalance --weight {owners[0]}=N` leaves its owners less of the rest"
    )


def _requests(rates: HeatRates) -> float:
    return rates.reads_s + rates.writes_s


def _work(rates: HeatRates) -> float:
    return _requests(rates) + rates.copy_reads_s + rates.copy_writes_s
