"""A client's knowledge of its cluster: the newest topology, one link per node, and the silent nodes.

A write goes only to a node that has answered within the last second; otherwise the client first asks it a
small question, because an open connection does not show that the process still runs (rule W5).  Silent nodes
are probed in the background, so that no write has to find out whether a node is back.  A node that says that
it is about to stop counts as silent at once (rule T10).  This file does not decide where a request goes:
client/routing/candidates.py orders the nodes, client/routing/router.py sends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ringmill.client.lifetime import Lifetime
from ringmill.client.routing.balancing import Balancer
from ringmill.client.routing.breakers import Breakers
from ringmill.client.routing.candidates import Suspects, coordinators
from ringmill.client.routing.links import TOPOLOGY, Link, NoticingLink, SendingLink
from ringmill.cluster.errors import DeadlineExceeded, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.gathering import end_all
from ringmill.cluster.ids import PartitionId
from ringmill.cluster.limits import MAX_TIMEOUT_S
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.wire.stubs.topology_pb2 import GetTopologyRequest, GetTopologyResponse

__all__ = ["PROBE_TIMEOUT_S", "Directory"]

PROBE_EVERY_S = 0.5
PROBE_TIMEOUT_S = 1.0
PROBE_PAUSE_CAP_S = 60.0
PROBES_AT_ONCE = 8
PROOF_AGE_S = 1.0
PROOF_TIMEOUT_S = 10.0
STAGGER_S = 0.15
_FORM_HINT = (
    "`ringmill cluster form --endpoints HOST:PORT,...` makes running nodes a cluster, "
    "`ringmill cluster up` finishes a local one"
)

_closing: Final[set[asyncio.Task[None]]] = set()  # the loop alone would not keep them


class Directory:
    """Links and topology of one cluster.  `close`, or `async with`, ends the links and the probes."""

    def __init__(
        self, endpoints: Sequence[str], dial: Callable[[str], Link], balancer: Balancer | None = None
    ) -> None:
        assert endpoints, "a client needs at least one endpoint"
        self._endpoints = list(dict.fromkeys(endpoints))
        self._dial = dial
        self.balancer = balancer
        """Orders the owners of a key; None for the order of the ring."""
        self._links: dict[str, Link] = {}
        self._senders: dict[str, SendingLink | None] = {}
        self._suspects = Suspects()
        self._breakers = Breakers()
        self._orders: dict[PartitionId, list[str]] = {}
        self._answered_at: dict[str, float] = {}
        self._leaving: set[str] = set()
        self._proofs: dict[str, asyncio.Task[str]] = {}
        self._retiring: dict[asyncio.Task[None], Link] = {}  # links to former members
        self._probing: asyncio.Task[None] | None = None
        self.lifetime = Lifetime()
        self._has_ended = False  # all links are closed, or are being
        self.topology: Topology | None = None
        self.newest_time = 0
        """The newest hybrid time that came with a topology."""
        self._claims: dict[str, int] = {}  # epochs of answers, by address, until a document shows them
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._heard_epoch = 0  # the newest of the claims

    async def __aenter__(self) -> Directory:
        self.lifetime.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all links; calls in progress fail as Unavailable.  In a forked child it does nothing, and
        where the loop of the links does not run, it leaves them to a later call there.  A task in the
        background that a bug has ended is told to the loop's exception handler.

        Raises ClientClosed while that loop runs elsewhere.
        """
        self.lifetime.close()
        if self._has_ended or not self.lifetime.is_at_home:
            return
        self._has_ended = True
        # Tasks of our own rather than a TaskGroup: the user's exceptions pass through as themselves.
        begun = (self._probing, *self._checks.values(), *self._proofs.values())
        tasks = [*self._retiring, *(task for task in begun if task is not None)]
        links = [*self._links.values(), *self._retiring.values()]
        await end_all(tasks, expected=RingmillError)
        for link in links:
            await link.close()
        self._links.clear()
        self._senders.clear()

    def close_unheld(self) -> None:
        """Close the links of a client that nobody holds any more, soon and in its loop; called in any
        thread."""

        def begin() -> None:
            task = asyncio.create_task(self.close(), name="client-closing")
            _closing.add(task)
            task.add_done_callback(_closing.discard)

        self.lifetime.call_at_home(begin)

    @property
    def epoch(self) -> int:
        """Epoch of the known topology; 0 when there is none."""
        return self.topology.epoch if self.topology else 0

    @property
    def asked_epoch(self) -> int:
        """The epoch that goes with each request: no node answers by an older topology than this client has
        had answers by (rules T5 and J25)."""
        return max(self.topology.epoch, self._heard_epoch) if self.topology else self._heard_epoch

    def hear_epoch(self, epoch: int, address: str) -> None:
        """A node has answered under this epoch: its topology is fetched if it is newer than ours.

        Until then the epoch is that node's claim, and other nodes refuse what is asked under an epoch that
        nobody has.  The claim is dropped when the node's own topology is older, or nobody shows one as new in
        time.
        """
        if epoch <= self.asked_epoch or self.lifetime.is_closed:
            return
        sometimes("a client hears of a newer topology by an answer")
        self._claims[address] = self._heard_epoch = epoch
        if address not in self._checks:
            self._checks[address] = asyncio.create_task(self._check_claim(address), name="client-epoch")

    async def _check_claim(self, address: str) -> None:
        """Fetch a topology of the epoch that a node claims, from it or from others, and drop the claim."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                while (claimed := self._claims[address]) > self.epoch:
                    try:
                        await self.pull(address, PROOF_TIMEOUT_S)
                        if claimed == self._claims[address]:
                            break  # asked since it claimed this, and no node goes back to an older topology
                    except RingmillError:
                        await self.catch_up(claimed, PROBE_TIMEOUT_S)
                        await asyncio.sleep(PROBE_EVERY_S)
        del self._claims[address], self._checks[address]
        self._heard_epoch = max(self._claims.values(), default=0)

    def check_cluster(self, cluster: str, address: str, formers: Sequence[str] = ()) -> None:
        """Raises Unavailable when the node at an address belongs to another cluster than ours, and not to one
        that was made of ours, which is among its `formers` (rule T9)."""
        ours = self.topology.cluster if self.topology else ""
        if cluster and ours and cluster != ours and ours not in formers:
            raise Unavailable(
                f"at {address} is a node of cluster {cluster}, not of cluster {ours}",
                detail={"address": address, "cluster": cluster},
                hint="another cluster took the address: give the endpoints of the one that you mean",
                outcome="failed",
            )

    def link(self, address: str) -> Link:
        """The link to one address, made on first use.  Raises ClientClosed."""
        self.lifetime.check()
        if address not in self._links:
            link = self._links[address] = self._dial(address)
            if isinstance(link, NoticingLink):
                link.on_leaving(partial(self.note_leaving, address))
        return self._links[address]

    def sender(self, address: str) -> SendingLink | None:
        """The link to an address if it has a session.  Raises ClientClosed."""
        if address not in self._senders:
            link = self.link(address)
            self._senders[address] = link if isinstance(link, SendingLink) else None
        return self._senders[address]

    def addresses(self, order: Callable[[str], Any] | None = None) -> list[str]:
        """Every known address, members first, by `order` if it is given, silent ones last."""
        members = self._members() if order is None else sorted(self._members(), key=order)
        return self._suspects.last(dict.fromkeys([*members, *self._endpoints]))

    def _members(self) -> list[str]:
        return list(self.topology.addresses().values()) if self.topology else []

    def addresses_for(self, keyspace: str, key: bytes, turn: int = 0) -> list[str]:
        """Addresses to ask about a key, best first; which of its owners is the first changes with `turn`.

        A keyspace that this client has not heard of may be a new one: any node finds out, and this client
        begins to (rule T5).
        """
        name = keyspace or "default"
        if self.topology is None:
            return self.addresses()
        if not self.topology.has_keyspace(name):
            addresses = self.addresses()
            self.inquire(addresses[0])
            return addresses
        return self.addresses_of(self.topology.partition_of(self.topology.keyspace_named(name).id, key), turn)

    def addresses_of(self, partition: PartitionId, turn: int = 0) -> list[str]:
        """Addresses to ask about a partition, the best first."""
        if self.topology is None or partition >= self.topology.partitions:
            return self.addresses()
        order = self._orders.get(partition)
        if order is None:
            order = self._orders[partition] = coordinators(self.topology, partition)
        now = asyncio.get_running_loop().time()
        if self.balancer is not None:
            owners = len(self.topology.owners(partition))
            order = self.balancer.order(list(order), owners, self._weight_of, now)
        elif turn:
            owners = len(self.topology.owners(partition))
            start = turn % owners
            order = order[start:owners] + order[:start] + order[owners:]
        return self._suspects.last(self._breakers.last(order, now))

    def _weight_of(self, address: str) -> int:
        members = () if self.topology is None else self.topology.members
        return next((member.weight for member in members if member.address == address), 1)

    def knows(self, keyspace: str) -> bool:
        """Whether the known topology has a keyspace of this name."""
        return self.topology is not None and self.topology.has_keyspace(keyspace or "default")

    def blame(self, address: str) -> None:
        """This address did not answer: ask it last until a probe or an answer clears it."""
        self._suspects.blame(address)
        if not self.lifetime.is_closed and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(self._probe_suspects(), name="client-probes")

    def note_leaving(self, address: str) -> None:
        """This node is about to stop: it is asked last until it tells its topology again (rule T10)."""
        if not self.lifetime.is_closed:
            self._leaving.add(address)
            self.blame(address)

    @property
    def is_over(self) -> bool:
        """Nothing is asked any more."""
        return self.lifetime.is_closed

    def fell_silent(self, address: str) -> None:
        """Requests are under way to this address, and nothing comes."""
        sometimes("a client finds a node silent with requests under way")
        self.blame(address)

    def is_silent(self, address: str) -> bool:
        """Whether this address did not answer the last time."""
        return self._suspects.has(address)

    def clear(self, address: str, now: float | None = None) -> None:
        """This address answered, just now or at `now` on the loop's clock."""
        self._answered_at[address] = asyncio.get_running_loop().time() if now is None else now
        if address not in self._leaving:  # it still answers what it was asked before
            self._suspects.clear(address)

    def well(self, address: str, now: float) -> None:
        """This address has answered a request at `now`, on the loop's clock."""
        self.clear(address, now)
        self._breakers.answered(address, now)

    def unwell(self, address: str) -> None:
        """This address has not answered a request, or had no room for it."""
        self._breakers.failed(address, asyncio.get_running_loop().time())

    def answered_at(self, address: str) -> float:
        """When the address answered last, on the loop's clock; 0 when it never did."""
        return self._answered_at.get(address, 0.0)

    def is_proved(self, address: str) -> bool:
        """Whether the address answered within the last second, and has not been blamed since."""
        answered_at = self._answered_at.get(address)
        if answered_at is None or self._suspects.has(address):
            return False
        return asyncio.get_running_loop().time() - answered_at < PROOF_AGE_S

    async def prove(self, address: str, patience_s: float, *, anew: bool = False) -> None:
        """Make sure that the address answers now, before sending what cannot be sent twice.

        Free when it answered within the last second, but for `anew`.  Otherwise asks a question, which stays
        open after `patience_s`, so that a late answer still counts.  Raises Unavailable, outcome "failed".
        """
        if self.is_proved(address) and not anew:
            return
        proof = self.inquire(address)
        await asyncio.wait({proof}, timeout=patience_s)
        self.lifetime.check_open()
        why = proof.result() if proof.done() else f"no answer within {patience_s:.3g} s"
        if why:
            raise Unavailable(
                f"{address} does not answer: {why}", detail={"address": address}, outcome="failed"
            )

    def inquire(self, address: str) -> asyncio.Task[str]:
        """Have a question under way to the address, one at a time.  It returns why there is no answer."""
        proof = self._proofs.get(address)
        if proof is None or proof.done():
            proof = self._proofs[address] = asyncio.create_task(self._question(address), name="client-proof")
        return proof

    async def _question(self, address: str) -> str:
        """Why the address does not answer; "" when it does."""
        try:
            await self.pull(address, PROOF_TIMEOUT_S)
        except RingmillError as error:
            return str(error)
        return ""

    async def pull(self, address: str, timeout_s: float) -> Topology:
        """Adopt the topology of one node if it is newer than ours.

        One of a cluster that goes on from ours is newer, too (rule T9).  Raises Unavailable when neither has
        one, and when the node is of another cluster.
        """
        known = GetTopologyRequest(known_epoch=self.epoch)
        answer = await self.link(address).call(TOPOLOGY, known, timeout_s)
        newer = self._newer_in(answer, address)
        self.newest_time = max(self.newest_time, answer.hybrid_time)
        if newer is not None:
            self.topology = newer
            self._orders.clear()
        if self.topology is None:
            raise Unavailable(
                f"{address} belongs to no cluster yet",
                detail={"address": address, "formed": False},
                hint=_FORM_HINT,
            )
        self._leaving.discard(address)
        self.clear(address)
        if newer is not None:
            self._forget_former()
        return self.topology

    def _newer_in(self, answer: GetTopologyResponse, address: str) -> Topology | None:
        """What a node tells that is newer than ours.  Raises Unavailable when it is of another cluster."""
        if not answer.document or answer.epoch <= self.epoch:
            self.check_cluster(answer.cluster, address)
            return None
        try:
            newer = Topology.decode(answer.document)
        except RingmillError:
            self.check_cluster(answer.cluster, address)
            raise
        self.check_cluster(answer.cluster, address, newer.formers)
        return newer

    def _forget_former(self) -> None:
        """Drop what is known of addresses that are neither members' nor endpoints any more.

        A link stays for as long as a request that was sent on it may take.
        """
        known = {*self.addresses()}
        self._suspects.keep(known)
        self._breakers.keep(known)
        self._leaving &= known
        self._answered_at = {address: at for address, at in self._answered_at.items() if address in known}
        self._proofs = {
            address: proof for address, proof in self._proofs.items() if address in known or not proof.done()
        }
        for address in [each for each in self._links if each not in known]:
            self._senders.pop(address, None)
            link = self._links.pop(address)
            task = asyncio.create_task(_close_later(link), name="client-retiring")
            self._retiring[task] = link
            task.add_done_callback(self._retiring.pop)

    async def refresh(self, address: str, timeout_s: float) -> None:
        """Try to get the topology of the node that refused us; keep ours when it does not answer."""
        with contextlib.suppress(RingmillError):
            await self.pull(address, min(timeout_s, PROBE_TIMEOUT_S))

    async def catch_up(self, epoch: int, timeout_s: float) -> None:
        """Try to get a topology of at least this epoch from those that are likely to have it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for address in self.addresses():
                    if self.epoch >= epoch:
                        return
                    await self.refresh(address, timeout_s)

    async def learn(self, timeout_s: float) -> None:
        """Ask the known members and the endpoints for the topology, each next one after a short silence of
        those before it: the endpoints may have left since.

        Raises Unavailable, with the reason of each, when all refuse; PermissionDenied when all refuse the
        token of this client; DeadlineExceeded when time runs out first.
        """
        asked, failures = self.addresses(), dict[str, RingmillError]()
        waiting: set[asyncio.Task[bool]] = set()
        try:
            async with asyncio.timeout(timeout_s):
                for address in asked:
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
        raise _nobody(asked, failures, timeout_s)

    async def _pull_noted(self, address: str, timeout_s: float, failures: dict[str, RingmillError]) -> bool:
        try:
            await self.pull(address, timeout_s)
        except RingmillError as error:
            failures[address] = error
            self.blame(address)
            return False
        return True

    async def _probe_suspects(self) -> None:
        """Ask each until it answers; an endpoint that is not a member less and less often: it may be gone."""
        due: dict[str, tuple[float, float]] = {}  # of such endpoints: when, and the pause after that
        while self._suspects.all() and not self.lifetime.is_closed:
            await asyncio.sleep(PROBE_EVERY_S)
            self._suspects.keep(self.addresses())  # a request to a former member may have ended since
            now, members = asyncio.get_running_loop().time(), self._members()
            suspects = [each for each in self._suspects.all() if due.get(each, (now, 0.0))[0] <= now]
            for address in suspects:
                pause_s = due.pop(address, (0.0, PROBE_EVERY_S))[1]
                if members and address not in members:
                    due[address] = now + pause_s, min(2 * pause_s, PROBE_PAUSE_CAP_S)
            for first in range(0, len(suspects), PROBES_AT_ONCE):
                few = suspects[first : first + PROBES_AT_ONCE]
                await asyncio.gather(*(self.refresh(address, PROBE_TIMEOUT_S) for address in few))


async def _close_later(link: Link) -> None:
    await asyncio.sleep(MAX_TIMEOUT_S)
    await link.close()


async def _one_succeeds(waiting: set[asyncio.Task[bool]], patience_s: float) -> bool:
    """Wait until a task ends or patience runs out; remove the ended tasks.

    True when one of them succeeded.
    """
    done, _ = await asyncio.wait(waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    waiting -= done
    return any(task.result() for task in done)


def _nobody(
    endpoints: Sequence[str], failures: Mapping[str, RingmillError], timeout_s: float
) -> RingmillError:
    """The error of a failed first contact: DeadlineExceeded if some endpoint was still silent, and
    PermissionDenied if all refuse the token of this client."""
    refusals = [failures[one] for one in endpoints if isinstance(failures.get(one), PermissionDenied)]
    if len(refusals) == len(endpoints):
        return refusals[0]
    found = none_reachable(endpoints, {address: str(error) for address, error in failures.items()})
    if any(error.detail.get("formed") is False for error in failures.values()):
        found.hint = _FORM_HINT
    for error in failures.values():
        is_stranger = error.detail.get("proved") is False or error.detail.get("tls") is False
        if is_stranger or (isinstance(error, PermissionDenied) and error.hint):
            found.hint = error.hint
            found.detail |= {"proved": False} if error.detail.get("proved") is False else {}
    silent = [one for one in endpoints if isinstance(failures.get(one), DeadlineExceeded | None)]
    if not silent:
        return found
    return DeadlineExceeded(
        f"{found.message}: {len(silent)} of them silent for {timeout_s:g} s",
        detail=found.detail,
        hint="use a longer --timeout (timeout=); `ringmill cluster status` shows which nodes are down",
        outcome="failed",
    )


def none_reachable(endpoints: Sequence[str], failures: Mapping[str, str]) -> Unavailable:
    """The error when no endpoint answered: each endpoint with its reason, and each reason once."""
    why = {address: failures.get(address, "no answer") for address in endpoints}
    alike: dict[str, list[str]] = {}  # by the reason without its address
    for address, reason in why.items():
        alike.setdefault(reason.removeprefix(address), []).append(address)
    listed = "; ".join(_told_of(addresses, reason) for reason, addresses in alike.items())
    return Unavailable(
        f"none of {len(endpoints)} endpoints answered ({listed})",
        detail={"failed": why},
        hint="see `ringmill cluster status`; `ringmill cluster up` starts the nodes that are down",
    )


def _told_of(addresses: Sequence[str], reason: str) -> str:
    """One reason for which these did not answer; it begins with a space if it goes on from an address."""
    each = ("each of " if len(addresses) > 1 else "") + ", ".join(addresses)
    return f"{each}{reason}" if reason.startswith((" ", ":")) else f"{each}: {reason}"
