"""A real node process: the real doors, the gRPC server, signals, and an orderly end.

The composition root of production.  On SIGTERM or SIGINT the node is no longer ready and says so to members
and clients (rule T10), requests in progress get 2 s, data is synced, and the process ends with 0.  A node
that has not finished after 5 s is killed as if it crashed, and its log says where it hung.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from ringmill.cluster.adapters.containment.level import level_of_kernel
from ringmill.cluster.adapters.files.core_wait import CoreWait
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.private_files import claim_folder, draft_of
from ringmill.cluster.adapters.files.rotated_log import RotatedLog
from ringmill.cluster.adapters.in_thread import in_thread
from ringmill.cluster.adapters.machine_name import machine_name
from ringmill.cluster.adapters.memory_limit import MemoryGauge, memory_limit
from ringmill.cluster.adapters.network.closed_connections import close_connections
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.network.sockets.socket_listener import SocketListener
from ringmill.cluster.adapters.network.tls.grpc_callers import check_caller
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.own_version import own_code
from ringmill.cluster.adapters.processes.descriptors import DescriptorWatch, connections_below, raise_limit
from ringmill.cluster.adapters.processes.loop_watchdog import LoopWatchdog
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.adapters.serving_process import spare_the_collector
from ringmill.cluster.adapters.system_clock import ShiftedClock, SystemClock
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.logs.log_events import log_as_json, note_epoch
from ringmill.cluster.logs.log_lines import log_by
from ringmill.cluster.mapreduce.messages.reach import TaskContainment, is_within
from ringmill.cluster.mapreduce.messages.worker_messages import Machine
from ringmill.cluster.meters.family import Family
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.cluster.ports import Clock, Entropy
from ringmill.cluster.ring.topology import Member, Owner, Topology
from ringmill.cluster.traces.spans import CallTracer
from ringmill.cluster.wire.join_tokens import JoinToken
from ringmill.cluster.wire.offers import offer_text
from ringmill.node.assembly import Node, running_node
from ringmill.node.config import NodeConfig, check_keeps_token, keep_token
from ringmill.node.core import Doors
from ringmill.node.joining.asking_seeds import SeedLink, Seeds
from ringmill.node.joining.joining_cluster import disk_of, secret_by_token
from ringmill.node.joining.watched_token import WatchedToken
from ringmill.node.leaving import end_service
from ringmill.node.metrics.families import families_of
from ringmill.node.metrics.process_meters import ProcessMeters
from ringmill.node.node_options import (
    BundleOptions,
    CompareOptions,
    CoordinatorOptions,
    HintOptions,
    MembershipOptions,
    NodeOptions,
    PurgeOptions,
    WorkerOptions,
)
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES
from ringmill.node.service_tables import ProcessFacts, service_tables
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.grpc_calls.unread_answers import UnreadAnswers
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.storage.engine_options import EngineOptions

__all__ = ["run_node"]

STOP_LIMIT_S = 5.0
SYNC_TURNS = 6  # of the loop: frames that were offered with a write leave before its sync holds the loop up
SOCKET_NAME = "frames.sock"  # in the data folder
_AS_ROOT = (
    "RUNNING AS ROOT: jobs run as root too, so what containment does not stop they may do to the whole "
    "machine, and the system's limit on processes does not bind them; run nodes as a user of their own"
)
_OPEN_TO_ALL = (
    "no --token-file: whatever process can reach this node is taken for the member that it says it is, and "
    "no job runs here"
)
_OPEN_TO_CLIENTS = "no --token-file: every client that can reach this node may do all, and no job runs here"
_log = logging.getLogger(__name__)


async def run_node(config: NodeConfig) -> None:
    """Serve until SIGTERM or SIGINT.  Raises what opening the log, the folder or the port raises."""
    if config.log_file:
        _log_to_file(config)
    clock, entropy = _clock(config), OsEntropy()
    stop = _Stop(clock)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.begin)
    if config.log_format == "json":
        log_as_json(config.id)
    limit = raise_limit()
    watch = DescriptorWatch(limit)
    tls = _tls(config)
    claim_folder(config.data, is_roots_too=False)
    if config.join is not None:
        joined = await _join(config, config.join, entropy, stop, tls)
        if joined is None:
            return
        config = joined
    spawner = ProcessSpawner()
    try:
        carrier = carrier_named(config.peer_transport, LINK, clock=clock, tls=tls)
        frames = FrameTransport(
            config.id, carrier, clock=clock, entropy=entropy, secret=config.token, addresses=config.proved
        )
        async with _recording_traces(config, entropy) as tracer, frames as transport:
            watch.spare = transport.end_idle
            transport.clients_prove = tls is not None and bool(config.token)
            files = OsFileSystem()
            files.start_threads()
            doors = Doors(
                clock=clock, entropy=entropy, files=files, spawner=spawner, transport=transport,
                tracer=tracer, core_time=CoreWait().core_time,
                memory_left=MemoryGauge().read,
            )  # fmt: skip
            options = _options(config).within(memory_limit())
            async with running_node(config, doors, options) as node:
                _acquaint(config, node, transport)
                dog = LoopWatchdog(node.membership.liveness.stood_still)
                process = await _facts(watch, dog, files, transport, options, tls)
                services_of_node = service_tables(node, process, transport.door.caller_of)
                admit = None if tls is None else partial(check_caller, tls)
                tables = grpc_handlers(services_of_node, clock, transport.prove, admit, _answers(config))
                services = Services(GrpcAcceptor(transport, tls=tls), tables)
                credentials = None if tls is None else tls.server_credentials()
                carriers = {"grpc", config.peer_transport, config.client_transport}
                most = connections_below(limit) // len(carriers)
                async with (
                    _taking_frames(config, transport, clock, most, tls),
                    _serving_metrics(node, process, tls),
                    NodeServer(
                        config.bound, services, max_connections=most, credentials=credentials
                    ) as server,
                ):
                    await server.set_started()
                    spare_the_collector()
                    _log.info(
                        "%s listens on %s, start %d", config.id, server.address, node.identity.start.number
                    )
                    for warning in _warnings(config, options.worker.containment):
                        _log.warning("%s", warning)
                    with dog:
                        await _serve_until(stop, node, server, watch, tls)
                    _log.info("%s stops", config.id)
                    await end_service(node, transport, server, limit_s=stop.left_s)
    finally:
        await spawner.close()


def _answers(config: NodeConfig) -> UnreadAnswers:
    return UnreadAnswers(partial(close_connections, int(config.bound.rpartition(":")[2])))


def _acquaint(config: NodeConfig, node: Node, transport: FrameTransport) -> None:
    """Tell the transport what it has to know of its node, also later on."""
    if config.gate:
        transport.admit_by(node.core.gate)
    transport.authorize_by(node.access)
    transport.meter_by(node.core.meter)
    if node.core.doors.tracer is not None:
        transport.trace_by(node.core.doors.tracer)
    node.core.secret.on_change(transport.change_secret)
    node.membership.topology.on_change(lambda topology: transport.join(topology.cluster, *topology.formers))
    node.membership.topology.on_change(lambda topology: note_epoch(topology.epoch))
    node.membership.topology.on_change(partial(_tell_other_address, config))


async def _join(
    config: NodeConfig, token: JoinToken, entropy: Entropy, stop: asyncio.Event, tls: TlsFiles | None
) -> NodeConfig | None:
    """The configuration with the cluster's token, once a seed has let this node join; None to stop instead.

    Raises what the seeds refuse it by.  None is asked when the cluster's token could not be kept: that is
    InvalidArgument.
    """
    disk = await disk_of(config.data, config.id, files=OsFileSystem(), entropy=entropy)
    check_keeps_token(config.token_file)
    newcomer = Member(config.id, disk, config.address, zone=config.zone or "default")
    asking = asyncio.ensure_future(
        secret_by_token(
            token, newcomer, config.seeds, open_seed=partial(ClientLink, tls=tls), entropy=entropy
        )
    )
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            return None
        secret = asking.result()
    finally:
        for task in (asking, stopping):
            task.cancel()
    keep_token(config.token_file, secret)
    return replace(config, token=secret, join=None)


@asynccontextmanager
async def _taking_frames(
    config: NodeConfig,
    transport: FrameTransport,
    clock: Clock,
    max_connections: int,
    tls: TlsFiles | None,
) -> AsyncIterator[None]:
    """Take frames over what the configuration names beside gRPC, and offer it to those whom it is for."""
    offers = {"grpc": ""}
    async with AsyncExitStack() as stack:
        for name in sorted({config.peer_transport, config.client_transport} - {"grpc"}):
            listener = SocketListener(
                config.id, transport, clock=clock, max_connections=max_connections, tls=tls
            )
            path = f"{config.data}/{SOCKET_NAME}"
            listening = (
                listener.tcp(config.bound, config.frames_port) if name == "tcp" else listener.unix(path)
            )
            offers[name] = offer_text(await stack.enter_async_context(listening))
            _log.info("%s takes frames at %s", config.id, offers[name])
        transport.offer(peers=offers[config.peer_transport], clients=offers[config.client_transport])
        yield


def _clock(config: NodeConfig) -> SystemClock:
    return ShiftedClock(f"{config.clock_shifts}/{config.id}") if config.clock_shifts else SystemClock()


def _log_to_file(config: NodeConfig) -> None:
    """Raises InvalidArgument for a file that cannot be written."""
    try:
        log_by(RotatedLog(config.log_file, most_bytes=config.log_bytes, files=config.log_files))
    except OSError as error:
        raise InvalidArgument(f"--log-file {config.log_file!r}: {error.strerror}") from error


async def _facts(
    watch: DescriptorWatch,
    dog: LoopWatchdog,
    files: OsFileSystem,
    transport: FrameTransport,
    options: NodeOptions,
    tls: TlsFiles | None,
) -> ProcessFacts:
    return ProcessFacts(
        os.getpid(),
        version("ringmill"),
        lambda: watch.reason or dog.reason,
        _contained(options.worker.containment),
        ProcessMeters(
            lags=dog.lags,
            stalls=lambda: dog.stalls,
            certificate_ends_at=lambda: None if tls is None else tls.ends_at,
            sync_times=files.sync_times,
            streams=transport.streams,
        ),
        code=await in_thread(own_code),
    )


@asynccontextmanager
async def _serving_metrics(node: Node, process: ProcessFacts, tls: TlsFiles | None) -> AsyncIterator[None]:
    """Only a node that serves metrics loads what that takes."""
    if not node.core.config.metrics:
        yield
        return
    from ringmill.node.metrics.served_metrics import serving_metrics  # noqa: PLC0415

    def families() -> Sequence[Family]:
        return families_of(node, process.version, process.meters, process.code)

    async with serving_metrics(node, families, tls) as where:
        _log.info("%s serves metrics at %s", node.core.node, where)
        yield


@asynccontextmanager
async def _recording_traces(config: NodeConfig, entropy: Entropy) -> AsyncIterator[CallTracer | None]:
    """Only a node that records traces loads what that takes.  Raises InvalidArgument."""
    if not config.traces:
        yield None
        return
    from ringmill.node.traces.recording import recording_traces  # noqa: PLC0415

    with recording_traces(config, entropy) as tracer:
        _log.info("%s records traces to %s", config.id, config.traces)
        yield tracer


def _tls(config: NodeConfig) -> TlsFiles | None:
    """The certificates of the node.  Raises InvalidArgument for files of no use, or of another node."""
    if config.tls is None:
        return None
    paths = config.tls
    files = TlsFiles(ca=paths.ca, cert=paths.cert, key=paths.key, crl=paths.crl, demands=paths.demands)
    files.check_is_for(config.id)
    return files


def _warnings(config: NodeConfig, containment: TaskContainment) -> Iterator[str]:
    if config.clock_shifts:
        yield f"WRONG CLOCK: the wall clock here is as far ahead as a file in {config.clock_shifts} says"
    if os.geteuid() == 0:
        yield _AS_ROOT
    if config.containment == "off":
        yield "--containment off: jobs may do whatever this user may"
    elif containment.refusal:
        yield f"no job runs here: {containment.refusal}"
    elif lack := level_of_kernel().lack:
        yield f"jobs are contained by {containment.level} alone: this kernel lacks {lack}"
    if not config.token:
        yield _OPEN_TO_ALL if config.tls is None else _OPEN_TO_CLIENTS


class _Stop(asyncio.Event):
    """Set by the first signal."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._begun_at = clock.monotonic()

    def begin(self) -> None:
        """Begin an orderly stop, and make sure that the process ends even when the loop is blocked."""
        if not self.is_set():
            self.set()
            self._begun_at = self._clock.monotonic()
            faulthandler.dump_traceback_later(STOP_LIMIT_S, exit=True)

    @property
    def left_s(self) -> float:
        """Until the process is killed, once it has begun."""
        return STOP_LIMIT_S - (self._clock.monotonic() - self._begun_at)


async def _serve_until(
    stop: asyncio.Event, node: Node, server: NodeServer, watch: DescriptorWatch, tls: TlsFiles | None
) -> None:
    """Become ready as soon as the cluster is formed; return when asked to stop."""
    config = node.core.config
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(_ready_once_formed(node, server)),
            group.create_task(watch.run()),
            group.create_task(_seeds(node, tls).run()),
        ]
        if tls is not None:
            beside.append(group.create_task(tls.run()))
        if config.token:
            beside.append(group.create_task(WatchedToken(config.token_file, node.core.secret).run()))
        await stop.wait()
        for task in beside:
            task.cancel()


def _seeds(node: Node, tls: TlsFiles | None) -> Seeds:
    config, topology = node.core.config, node.membership.topology
    others = [address for address in config.seeds if address not in {config.address, config.bound}]

    def open_seed(address: str) -> SeedLink:
        return ClientLink(address, token=lambda: node.core.secret.text, tls=tls)

    return Seeds(Owner(config.id, node.identity.disk), others, topology=topology, open_seed=open_seed)


def _tell_other_address(config: NodeConfig, topology: Topology) -> None:
    """Warn of a cluster that dials this node elsewhere than it says that it can be dialled."""
    known = topology.addresses().get(config.id, config.address)
    if known != config.address:
        _log.warning(
            "cluster %s knows %s at %s, where others dial it, and not at %s",
            topology.name,
            config.id,
            known,
            config.address,
        )


async def _ready_once_formed(node: Node, server: NodeServer) -> None:
    await node.membership.topology.wait_formed()
    await server.set_ready(True)
    _log.info("%s serves cluster %s", node.core.node, node.cluster)


def _purge(after_s: float) -> PurgeOptions:
    """A node that forgets nothing still settles now and then what it had kept."""
    every_s = PurgeOptions().every_s if not after_s else min(PurgeOptions().every_s, max(1.0, after_s / 2))
    return PurgeOptions(after_s=after_s, every_s=every_s)


def _containment(config: NodeConfig) -> TaskContainment:
    """How this node contains its tasks, on this kernel.

    The state folder of a local cluster holds its token, and the folders of its other nodes.  Who has the key
    of a node's certificate can pose as that node, also where the keys of several lie side by side.
    """
    kernel, is_off = level_of_kernel(), config.containment == "off"
    state = os.path.dirname(config.token_file)
    is_state = state == os.path.dirname(config.data) and not is_within(os.path.expanduser("~"), state)
    key = os.path.abspath(config.tls.key) if config.tls is not None else ""
    written = [each for path in (config.token_file, key) if path for each in (path, draft_of(path))]
    beside = _keys_beside(key) if key else []
    secrets = (config.data, *written, *beside, config.config_file, state if is_state else "")
    refusal = f"--containment require, and this kernel lacks {kernel.lack}" if kernel.lack else ""
    return TaskContainment(
        level="off" if is_off else str(kernel),
        is_on=not is_off,
        secrets=tuple(dict.fromkeys(filter(None, secrets))),
        home=os.path.expanduser("~"),
        refusal=refusal if config.containment == "require" else "",
    )


def _keys_beside(key: str) -> list[str]:
    """The keys in the folder of a key, as far as they are there now."""
    folder = os.path.dirname(key)
    try:
        return sorted(
            os.path.join(folder, name) for name in OsFileSystem().list(folder) if name.endswith(".key")
        )
    except OSError:
        return []  # the key itself cannot be read either


def _contained(containment: TaskContainment) -> str:
    """As status shows it."""
    return f"{containment.level}, AS ROOT" if os.geteuid() == 0 else containment.level


def _options(config: NodeConfig) -> NodeOptions:
    """The tunable numbers of a node with this configuration."""
    containment = _containment(config)
    return NodeOptions(
        worker=WorkerOptions(containment=containment, machine=_machine(config)),
        bundles=BundleOptions(most_bytes=config.bundle_bytes, longest_s=config.bundle_age_s, every_s=600.0),
        coordinator=CoordinatorOptions(containment=containment),
        storage=EngineOptions(sync_turns=SYNC_TURNS, joined_prefix_bytes=COPY_PREFIX_BYTES),
        hints=HintOptions(most_bytes=config.hint_bytes, longest_s=config.hint_age_s),
        compare=CompareOptions(every_s=config.compare_every_s),
        work_limit=WorkLimitOptions(is_on=config.gate),
        purge=_purge(config.purge_after_s),
        membership=MembershipOptions(voter_down_s=config.pass_vote_after_s),
    )


def _machine(config: NodeConfig) -> Machine:
    """What this node tells of its machine.  It alone may use the slots that it has, whatever the cores."""
    return Machine(machine_name(), config.host_slots or max(os.cpu_count() or 1, config.slots))
