"""The p99 of a node as a client sees it, measured by reads of its own.

Nodes tell no latencies, so each member is asked 20 times a second for a key that it owns and that is not
there, in keyspace `default` at its own level of reads.  Such a read goes through the node's queue and to
other owners as any other does, and to no block of a table.  A probe is sent when it is due, whether or not
earlier ones have been answered.  One that fails counts as one that took as long as a probe may.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ringmill.client.kv_requests import read_message, read_options
from ringmill.client.routing.attempts import attempt_message
from ringmill.client.routing.links import GET, Link
from ringmill.client.scaling.scaled_cluster import Look
from ringmill.cluster.errors import RingmillError, WrongEpoch
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.ring.topology import Topology

__all__ = ["LatencyProbes", "p99_ms", "probe_keys"]

PROBES_PER_S: Final = 20
LONGEST_S: Final = 1.0
KEPT: Final = 200  # the last of them, 10 s
ENOUGH: Final = 100  # fewer have no p99
_KEYS: Final = 16  # of each node
_TRIES: Final = 1 << 14
_KEYSPACE: Final = "default"


class LatencyProbes:
    """A Measure (client/scaling/measures.py): milliseconds, by probes that go on between the looks."""

    name = "p99_ms"

    def __init__(self, target: float, dial: Callable[[str], Link]) -> None:
        self.target = target
        self._dial = dial
        self._epoch = 0
        self._keys: Mapping[str, Sequence[bytes]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._took_s: dict[str, deque[float]] = {}

    async def read(self, look: Look) -> Mapping[str, float | None]:
        """The p99 of each member; None for a node that has answered fewer than 100 probes."""
        topology = look.topology
        if topology.epoch != self._epoch:
            self._epoch, self._keys = topology.epoch, probe_keys(topology)
            addresses = {str(node): at for node, at in topology.addresses().items() if self._keys.get(node)}
            for node in [node for node in self._running if node not in addresses]:
                await self._end(node)
            for node, address in addresses.items():
                if node not in self._running:
                    self._took_s[node] = deque(maxlen=KEPT)
                    self._running[node] = asyncio.create_task(self._probe(node, address))
        return {str(member.id): p99_ms(self._took_s.get(member.id, ())) for member in topology.members}

    async def aclose(self) -> None:
        """End all probes, and close the connections."""
        for node in list(self._running):
            await self._end(node)

    async def _end(self, node: str) -> None:
        task = self._running.pop(node)
        self._took_s.pop(node, None)
        task.cancel()
        await asyncio.wait([task])

    async def _probe(self, node: str, address: str) -> None:
        link, loop = self._dial(address), asyncio.get_running_loop()
        due, number, asked = loop.time(), 0, set[asyncio.Task[None]]()
        try:
            while True:
                due, number = max(due + 1 / PROBES_PER_S, loop.time() - LONGEST_S), number + 1
                await asyncio.sleep(due - loop.time())
                keys = self._keys.get(node, ())
                if keys:
                    probe = asyncio.create_task(self._ask(node, link, keys[number % len(keys)], due))
                    asked.add(probe)
                    probe.add_done_callback(asked.discard)
        finally:
            for probe in asked:
                probe.cancel()
            await link.close()

    async def _ask(self, node: str, link: Link, key: bytes, due: float) -> None:
        request = read_message(_KEYSPACE, key, read_options())
        message = attempt_message(request, self._epoch, int(LONGEST_S * 1000), 0)
        took = self._took_s[node]
        try:
            await link.call(GET, message, LONGEST_S)
        except WrongEpoch:
            return  # it knows more members than the last look showed
        except RingmillError:
            took.append(LONGEST_S)
        else:
            took.append(asyncio.get_running_loop().time() - due)


def probe_keys(topology: Topology) -> dict[str, list[bytes]]:
    """For each member keys that it owns, up to 16; none for one that owns nothing."""
    keyspace = topology.keyspace_named(_KEYSPACE).id
    keys: dict[str, list[bytes]] = {member.id: [] for member in topology.members}
    for number in range(_TRIES):
        key = b"ringmill/autoscale/%d" % number
        owners = topology.owners(topology.partition_of(keyspace, key))
        for node in owners:
            if len(keys[node]) < _KEYS:
                keys[node].append(key)
        if all(len(found) == _KEYS for found in keys.values()):
            break
    return keys


def p99_ms(took_s: Sequence[float]) -> float | None:
    """The p99 in milliseconds of latencies in seconds; None for fewer than 100."""
    if len(took_s) < ENOUGH:
        return None
    histogram = Histogram()
    for seconds in took_s:
        histogram.record(int(seconds * 1e9))
    return histogram.percentile_ns(0.99) / 1e6
