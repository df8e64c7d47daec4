"""What a client knows of its cluster: the newest topology met, one link a node, and who fell silent.

Silent nodes are probed in the background with small questions, so that no write has to find out whether one
is back.  Which request goes where is not decided here: client/router.py asks, client/routing.py orders.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from client.links import TOPOLOGY, Link
from client.routing import Suspects, coordinators
from cluster.errors import DeadlineExceeded, RingmillError, Unavailable
from cluster.ids import PartitionId
from cluster.ring.topology import Topology
from cluster.wire.topology_pb2 import GetTopologyRequest

__all__ = ["Directory"]

PROBE_EVERY_S = 0.5
PROBE_TIMEOUT_S = 1.0
STAGGER_S = 0.15


class Directory:
    """Links and topology of one cluster.  `async with` owns both, and the probing task."""

    def __init__(self, endpoints: Sequence[str], dial: Callable[[str], Link]) -> None:
        assert endpoints, "a client needs one endpoint at least"
        self._endpoints = list(dict.fromkeys(endpoints))
        self._dial = dial
        self._links: dict[str, Link] = {}
        self._suspects = Suspects()
        self._orders: dict[PartitionId, list[str]] = {}
        self._answering: dict[str, None] = {}
        self._blamed = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None
        self.topology: Topology | None = None

    async def __aenter__(self) -> Directory:
        self._probing = asyncio.create_task(self._probe_suspects(), name="client-probes")
        return self

    async def __aexit__(self, *_: object) -> None:
        # One task of our own rather than a TaskGroup: the user's exceptions pass through as themselves.
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        for link in list(self._links.values()):
            await link.close()
        self._links.clear()

    @property
    def epoch(self) -> int:
        """Epoch of the topology in hand; 0 while there is none."""
        return self.topology.epoch if self.topology else 0

    def link(self, address: str) -> Link:
        """The link to one address, made on first use."""
        if address not in self._links:
            self._links[address] = self._dial(address)
        return self._links[address]

    def order(self) -> list[str]:
        """Every known address, members first, silent ones last."""
        members = list(self.topology.addresses().values()) if self.topology else []
        return self._suspects.last(dict.fromkeys([*members, *self._endpoints]))

    def order_for(self, keyspace: str, key: bytes) -> list[str]:
        """Addresses to ask about a key, best first.  Raises InvalidArgument for an unknown keyspace."""
        if self.topology is None:
            return self.order()
        partition = self.topology.partition_of(self.topology.keyspace_named(keyspace or "default").id, key)
        order = self._orders.get(partition)
        if order is None:
            order = self._orders[partition] = coordinators(self.topology, partition)
        return self._suspects.last(order)

    def blame(self, address: str) -> None:
        """This address did not answer: ask it last until a probe or an answer clears it."""
        self._answering.pop(address, None)
        self._suspects.blame(address)
        self._blamed.set()

    def clear(self, address: str) -> None:
        """This address answered."""
        self._answering[address] = None
        self._suspects.clear(address)

    async def prove(self, address: str, timeout_s: float) -> None:
        """Make sure that somebody answers there, before something is sent that cannot be sent twice.

        Free when the address answered lately.  Raises Unavailable, with outcome "failed".
        """
        if address in self._answering:
            return
        try:
            await self.pull(address, timeout_s)
        except (Unavailable, DeadlineExceeded) as error:
            raise Unavailable(
                f"{address} does not answer: {error}", detail={"address": address}, outcome="failed"
            ) from error

    async def pull(self, address: str, timeout_s: float) -> Topology:
        """Take over the topology of one node when it is newer than ours; Unavailable when neither has one."""
        known = GetTopologyRequest(known_epoch=self.epoch)
        answer = await self.link(address).call(TOPOLOGY, known, timeout_s)
        if answer.document and answer.epoch > self.epoch:
            self.topology = Topology.decode(answer.document)
            self._orders.clear()
        if self.topology is None:
            raise Unavailable(
                f"{address} belongs to no cluster yet",
                hint="`ringmill cluster up` makes its nodes one",
            )
        self.clear(address)
        return self.topology

    async def refresh(self, address: str, timeout_s: float) -> None:
        """Try to learn what the node that refused us knows; when it cannot tell, ours stays."""
        with contextlib.suppress(RingmillError):
            await self.pull(address, min(timeout_s, PROBE_TIMEOUT_S))

    async def learn(self, timeout_s: float) -> None:
        """Ask the endpoints for the topology: the next one as soon as the former is silent for a moment.

        Raises Unavailable, with what each said, when none answers in time.
        """
        failures: dict[str, str] = {}
        waiting: set[asyncio.Task[bool]] = set()
        try:
            async with asyncio.timeout(timeout_s):
                for address in self._endpoints:
                    waiting.add(asyncio.create_task(self._pull_noted(address, timeout_s, failures)))
                    if await _one_succeeds(waiting, STAGGER_S):
                        return
                while waiting:
                    if await _one_succeeds(waiting, timeout_s):
                        return
        except TimeoutError:
            pass
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        raise unreachable(self._endpoints, failures)

    async def _pull_noted(self, address: str, timeout_s: float, failures: dict[str, str]) -> bool:
        try:
            await self.pull(address, timeout_s)
        except RingmillError as error:
            failures[address] = str(error)
            self.blame(address)
            return False
        return True

    async def _probe_suspects(self) -> None:
        while True:
            await self._blamed.wait()
            await asyncio.sleep(PROBE_EVERY_S)
            for address in self._suspects.all():
                with contextlib.suppress(RingmillError):
                    await self.pull(address, PROBE_TIMEOUT_S)
            if not self._suspects.all():
                self._blamed.clear()


async def _one_succeeds(waiting: set[asyncio.Task[bool]], patience_s: float) -> bool:
    """Wait until a task ends or patience does; take the ended ones out.  True when one of them succeeded."""
    done, _ = await asyncio.wait(waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    waiting -= done
    return any(task.result() for task in done)


def unreachable(endpoints: Sequence[str], failures: Mapping[str, str]) -> Unavailable:
    """The error of a client that found nobody: each endpoint with its reason."""
    why = {address: failures.get(address, "no answer") for address in endpoints}
    listed = "; ".join(
        reason if reason.startswith(address) else f"{address}: {reason}" for address, reason in why.items()
    )
    return Unavailable(
        f"none of {len(endpoints)} endpoints answered ({listed})",
        detail={"failed": why},
        hint="see `ringmill cluster status`; `ringmill cluster up` starts what is down",
    )
