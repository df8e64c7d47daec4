"""`connect` makes a client from addresses.  Composition root of the client, with client/dialling/ below it.

    async with ringmill.connect("127.0.0.1:7101") as db:
        await db.put("user:42", b"Ada")

One endpoint is enough: the client learns the other nodes from it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ringmill.client.administration.auth import AsyncAuth
from ringmill.client.administration.hot_view import HotView, ask_hot
from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.administration.members import AsyncMembers
from ringmill.client.administration.node_metrics import NodeMetrics, ask_metrics
from ringmill.client.administration.ring_view import AsyncRing
from ringmill.client.administration.status import ClusterStatus, cluster_status
from ringmill.client.arguments import (
    Endpoints,
    Seconds,
    checked_balance,
    checked_endpoints,
    checked_flag,
    checked_name,
    checked_session_token,
    checked_timeout_s,
    checked_tls,
    checked_token,
    checked_transport,
)
from ringmill.client.dialling.client_dialler import ClientDialler, open_files
from ringmill.client.dialling.node_links import JobServiceLink
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.local_token import FollowedToken, name_found_token
from ringmill.client.merging.mergeables import AsyncCounters, AsyncMaps, AsyncSets
from ringmill.client.operations import OperationNames
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.client.routing.balancing import BalanceName, balancer_named
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Link
from ringmill.client.routing.router import Router
from ringmill.client.session_memory import SessionMemory
from ringmill.client.sessions.sessions import AsyncSession
from ringmill.cluster.adapters.network.channels import check_fork
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.adapters.tracing.programs_tracer import ProgramsTracer
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.offers import CarrierName

if TYPE_CHECKING:
    from ringmill.client.jobs.asking.job_link import Dial
    from ringmill.client.jobs.jobs import AsyncJobs

__all__ = ["AsyncClient", "connect", "links_of", "tls_of", "token_links_of"]

LINGER_S = 0.02
"""How long `aclose` waits for gRPC to report the cancelled session calls to this loop.

A report after the loop is closed would appear as a traceback in the log of the next loop.
"""


def connect(
    endpoints: Endpoints,
    *,
    timeout: Seconds = 5.0,
    token: str = "",
    session: bool = True,
    transport: CarrierName = "grpc",
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    balance: BalanceName = "hash",
) -> AsyncClient:
    """A client of the cluster that `endpoints` ("host:port,…") belong to; enter it with `async with`.

    `timeout` is the deadline of each request in seconds, including the time to connect.  The token is
    `token`, else $RINGMILL_TOKEN, else that of a local cluster in $RINGMILL_HOME or ./.ringmill, whose file
    is followed when the cluster's secret is rotated (rule F9).  It is the
    cluster's, which opens all, or one of a client, which opens what its role allows (rule F8 in
    docs/protocol/requests.md).  Jobs need one.  A client that has a token takes no answer from a process that
    does not know it (rule F6); one without it trusts whoever listens at the endpoints.  `session=False`
    sends each request as a unary call, which is cheaper for only a few requests.  `transport` "tcp" or
    "unix" carries the session's requests where the nodes offer that, else gRPC does.

    `balance` says which owner of a key is asked first: "hash" the first in the order of the ring,
    "round-robin" each in turn, "weighted" in turn by the members' weights, "sticky" one node for everything,
    "least-connections" the one with the fewest requests of this client under way, "least-latency" the one
    that answered soonest lately.  Nodes that do not answer are asked last under each.

    `tls_ca` is a file with the certificates of the cluster's authority: nodes are asked for certificates by
    it, and everything is encrypted (rule F7).  `tls_cert` and `tls_key` are a certificate of this client and
    its key; nodes check what is shown, and those with `--tls-clients certificate` demand one.

    Raises InvalidArgument for an argument that is not valid, Unavailable in a process forked from one that
    had used a client.  Entering it raises Unavailable when no endpoint answers, PermissionDenied when the
    token of the local cluster cannot be read or trusted.
    """
    given = checked_endpoints(endpoints), checked_timeout_s(timeout), checked_token(token)
    checked_flag("session", session)
    checked_transport(transport, session=session)
    tls = tls_of(tls_ca, tls_cert, tls_key)
    checked_balance(balance)
    check_fork()
    return AsyncClient(*given, session, transport, tls, balance=balance)


def tls_of(ca: str, cert: str = "", key: str = "") -> TlsFiles | None:
    """TLS with these files; None when there are none.  Raises InvalidArgument."""
    checked_tls(ca, cert, key)
    return TlsFiles(ca=ca, cert=cert, key=key) if ca else None


def links_of(client: AsyncClient) -> Callable[[str], Link]:
    """Opens links of the caller's own to members, which have to prove what they prove to this client."""
    return client._dialler.dial


def token_links_of(client: AsyncClient) -> Dial:
    """Opens links to members on connections of their own, with the cluster's token in each call."""
    _ = client.jobs  # it finds the token
    assert client._token_dial is not None
    return client._token_dial


def follow_token(client: AsyncClient, read: Callable[[], str]) -> AsyncClient:
    """Have a client that was not entered yet go on with what `read` gives when it has changed; the client.

    Raises what `read` raises.
    """
    client._dialler.token_source = FollowedToken(read, SystemClock())
    return client


def cluster_token_of(client: AsyncClient) -> str:
    """The cluster's token that this client has; "" when it has none."""
    return client._dialler.token_source()


class AsyncClient(AsyncKeyspace):
    """A connected client: the methods of keyspace `default`, access to other keyspaces, `keyspaces`,
    `registers` and `jobs`.

    Use it only in the process that made it and in the event loop of its first request.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout_s: float,
        token: str,
        session: bool,
        transport: CarrierName = "grpc",
        tls: TlsFiles | None = None,
        *,
        finds_token: bool = True,
        balance: BalanceName = "hash",
    ) -> None:
        """Takes the arguments of `connect`, checked; without `finds_token` it looks for no other token."""
        self._entropy = OsEntropy()
        balancer = balancer_named(balance, self._entropy.random_bytes("client.balance", 16))
        self._dialler = ClientDialler(token, session, transport, tls, finds_token)
        self._directory = self._dialler.directory = Directory(endpoints, self._dialler.dial, balancer)
        self._timeout_s = timeout_s
        self._jobs: AsyncJobs | None = None
        self._token_dial: Dial | None = None
        self._job_links: set[JobServiceLink] = set()
        router = Router(self._directory, self._entropy, timeout_s, ProgramsTracer())
        weakref.finalize(router, self._directory.close_unheld).atexit = False  # all that asks holds it
        super().__init__("default", router, OperationNames(self._entropy, self._directory))

    async def __aenter__(self) -> AsyncClient:
        self._directory.lifetime.check()
        try:
            _ = self._dialler.token_source()  # what is wrong with it is not a fault of an endpoint
            await self._directory.learn(self._timeout_s)
        except BaseException as error:
            if isinstance(error, RingmillError):
                name_found_token(error, self._dialler.token_path)
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; calling it again does nothing.

        Calls in progress raise ClientClosed, a kind of Unavailable, with outcome "unknown" for a write that
        was sent and "failed" otherwise.  All later calls raise it, too.  While the client's own event loop
        runs in another thread, this raises it, and the client stays open.
        """
        was_open = not self._directory.lifetime.is_closed
        await self._directory.close()
        for link in list(self._job_links):
            await link.close()
        if was_open and self._dialler.session:
            await asyncio.sleep(LINGER_S)

    def __repr__(self) -> str:
        return f"<ringmill client of {', '.join(self._directory.addresses())}>"

    @property
    def topology(self) -> Topology:
        """The newest topology that this client has received.  Raises Unavailable before it is connected."""
        self._directory.lifetime.check_open()
        if self._directory.topology is None:
            hint = "use it inside `with` or `async with`, or after a first request"
            raise Unavailable("the client is not connected", hint=hint, outcome="failed")
        return self._directory.topology

    def keyspace(self, name: str) -> AsyncKeyspace:
        """The methods of this client for another keyspace.

        Requests to one that does not exist raise InvalidArgument, which lists those that do.
        """
        self._directory.lifetime.check_open()
        checked_name("name", name)
        return AsyncKeyspace(name, self._router, self._operations)

    def session(self, *, token: bytes | None = None) -> AsyncSession:
        """A session: its reads show what it has read and written before, at any level; use `async with`.

        With the `token` of another session it goes on where that one was.  Raises InvalidArgument for what is
        no token of this cluster, and of an async client Unavailable before it is connected.
        """
        earlier = None if token is None else SessionMemory.decode(checked_session_token(token))
        memory = SessionMemory(self.topology.cluster) if earlier is None else earlier
        memory.check_cluster(self.topology.cluster)
        return AsyncSession(self, memory, self.keyspace)

    @property
    def keyspaces(self) -> AsyncKeyspaces:
        """Makes, changes, drops and lists keyspaces."""
        self._directory.lifetime.check_open()
        return AsyncKeyspaces(self._router)

    @property
    def auth(self) -> AsyncAuth:
        """Issues, lists and revokes tokens of clients.  It needs the role admin."""
        self._directory.lifetime.check_open()
        return AsyncAuth(self._router, self._entropy)

    @property
    def members(self) -> AsyncMembers:
        """Gives a member that lost its disk its seat back."""
        self._directory.lifetime.check_open()
        return AsyncMembers(self._router)

    @property
    def ring(self) -> AsyncRing:
        """Shows who owns what, and what a change of the members would move."""
        self._directory.lifetime.check_open()
        return AsyncRing(self._router)

    def counters(self, name: str) -> AsyncCounters:
        """The counters of a keyspace of policy counter.

        Requests to another one raise InvalidArgument, which names its policy.
        """
        return AsyncCounters(self.keyspace(name))

    def sets(self, name: str) -> AsyncSets:
        """The sets of a keyspace of policy set.

        Requests to another one raise InvalidArgument, which names its policy.
        """
        return AsyncSets(self.keyspace(name))

    def maps(self, name: str) -> AsyncMaps:
        """The maps of a keyspace of policy map.

        Requests to another one raise InvalidArgument, which names its policy.
        """
        return AsyncMaps(self.keyspace(name))

    @property
    def registers(self) -> AsyncRegisters:
        """Values that change by compare-and-set."""
        self._directory.lifetime.check_open()
        return AsyncRegisters(self._router, self._operations, clock=SystemClock(), entropy=self._entropy)

    @property
    def jobs(self) -> AsyncJobs:
        """The jobs of the cluster."""
        from ringmill.client.jobs.jobs import AsyncJobs  # noqa: PLC0415 - the engine's part is loaded by those who use it

        self._directory.lifetime.check_open()
        if self._jobs is not None:
            return self._jobs
        source = self._dialler.job_token_source()

        def dial(address: str) -> JobServiceLink:
            self._directory.lifetime.check()
            return JobServiceLink(address, source, self._job_links, self._dialler.tls)

        self._token_dial = dial
        self._jobs = AsyncJobs(
            self._directory, dial, open_files, self._entropy, self._timeout_s, self._router.tracing
        )
        return self._jobs

    async def status(self, *, timeout: Seconds | None = None) -> ClusterStatus:
        """The state of the cluster as seen by all members that answer.

        Raises Unavailable when none answers.
        """
        self._directory.lifetime.check()
        timeout_s = self._timeout_s if timeout is None else checked_timeout_s(timeout)
        return await cluster_status(self._directory, timeout_s, waits=False)

    async def hot(self, *, status: ClusterStatus | None = None, timeout: Seconds | None = None) -> HotView:
        """The keys and partitions with the most requests at present, as all members that answer count them.

        Keys are told, values are not.  With a `status` that was asked just now the members are not asked for
        it again.  Raises Unavailable when no member answers.
        """
        timeout_s = self._timeout_s if timeout is None else checked_timeout_s(timeout)
        until = asyncio.get_running_loop().time() + timeout_s
        view = await self.ring.show(status=status, timeout=timeout_s)
        left_s = max(0.1, until - asyncio.get_running_loop().time())
        return await ask_hot(self._directory, view, left_s)

    async def metrics(self, *, timeout: Seconds | None = None) -> Mapping[str, NodeMetrics]:
        """What each member that answers has counted since its start, by the id of the node.

        The names are those of docs/monitoring.md.  Raises Unavailable when no member answers.
        """
        timeout_s = self._timeout_s if timeout is None else checked_timeout_s(timeout)
        return await ask_metrics(self._directory, timeout_s)
