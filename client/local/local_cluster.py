"""Starts and stops the processes of a local cluster, one process per node.

Every step is written to cluster.json before the next one, and the next `up` finishes an interrupted one.
A process is written down as soon as it has started; one whose start was interrupted before is found by its
port.  client/local/local_forming.py forms the cluster.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from ringmill.client.local import processes, tcp_ports
from ringmill.client.local.local_state import (
    STATE_FILE,
    LocalCluster,
    LocalNode,
    check_home,
    load_cluster,
    make_token,
    save_cluster,
    token_path,
)
from ringmill.cluster.adapters.files.private_files import make_private_folder, open_private, tighten
from ringmill.cluster.adapters.files.tree_removal import remove_tree
from ringmill.cluster.errors import InvalidArgument, NotFound, RingmillError
from ringmill.cluster.ring.hashing import MAX_PARTITIONS, MIN_PARTITIONS
from ringmill.cluster.ring.topology_entries import MAX_REPLICAS, check_between, check_name

__all__ = [
    "Plan",
    "Started",
    "check_is_no_copy",
    "check_run",
    "check_shape",
    "exclusively",
    "holds_data",
    "node_state",
    "not_running",
    "planned",
    "purge",
    "required_cluster",
    "signal_node",
    "start_nodes",
    "stop_nodes",
]

DEFAULT_REPLICAS = 3
_LOCK = ".lock"
MAX_NODES = 100
STOP_PATIENCE_S = 6.0
KILL_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a new cluster.  Replicas None: 3, or fewer if there are fewer nodes."""

    nodes: int = 5
    replicas: int | None = None
    partitions: int = 256
    base_port: int = 7101
    zones: int = 0

    @property
    def owners(self) -> int:
        """The number of owners of each partition."""
        return min(DEFAULT_REPLICAS, self.nodes) if self.replicas is None else self.replicas


@dataclass(frozen=True, slots=True)
class Started:
    """A node process started by this command: its record in cluster.json, and a handle that shows if it
    fails."""

    node: LocalNode
    process: subprocess.Popen[bytes]


@contextmanager
def exclusively(folder: str) -> Iterator[None]:
    """Lock the cluster: one command at a time changes its processes; a second one waits.

    Raises PermissionDenied when another user can write to the folder or its parent.
    """
    check_home(os.path.dirname(folder))
    check_home(folder)
    with ExitStack() as held:
        while True:
            make_private_folder(folder)
            path = os.path.join(folder, _LOCK)
            try:
                file = os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT), "w")
            except FileNotFoundError:
                if os.path.isdir(folder):
                    raise
                continue  # purged just now
            held.enter_context(file)
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file.fileno()):
                break
            held.pop_all().close()  # purged by who held it: others may lock the file that is there now
        yield


def _is_at(path: str, descriptor: int) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def required_cluster(folder: str) -> LocalCluster:
    """The cluster of a folder.  Raises NotFound."""
    cluster = load_cluster(folder)
    if cluster is None:
        raise NotFound(
            f"there is no local cluster {os.path.basename(folder)!r} in {os.path.dirname(folder)}",
            hint="`ringmill cluster list` shows the local clusters, `ringmill cluster up` starts one",
        )
    check_is_no_copy(cluster)
    return cluster


def check_is_no_copy(cluster: LocalCluster) -> None:
    """Raise InvalidArgument for a folder that was copied from another cluster.

    Its nodes would be the other's: the same disk ids, the same ports, and the pids of the other's processes.
    """
    name = os.path.basename(cluster.folder)
    if cluster.name != name:
        raise InvalidArgument(
            f"{cluster.folder} is a copy of cluster {cluster.name}: its nodes are the same nodes",
            hint=f"to put a backup back, stop cluster {cluster.name} and give the folder that name again",
        )


def check_shape(name: str, *, nodes: int, replicas: int, partitions: int) -> None:
    """Raise InvalidArgument, which names the flag, for settings that contradict each other."""
    check_name("--cluster", name)
    check_between("--nodes", nodes, 1, MAX_NODES)
    check_between("--replicas", replicas, 1, MAX_REPLICAS)
    if replicas > nodes:
        raise InvalidArgument(
            f"--replicas is {replicas}, but there are {nodes} nodes: each replica needs a node of its own",
            hint=f"--replicas {nodes}, or at least {replicas} nodes",
        )
    check_between("--partitions", partitions, MIN_PARTITIONS, MAX_PARTITIONS)
    if partitions.bit_count() != 1:
        raise InvalidArgument(
            f"--partitions is {partitions}; it must be a power of two",
            hint=f"--partitions {1 << partitions.bit_length() - 1} or {1 << partitions.bit_length()}",
        )


def planned(name: str, folder: str, plan: Plan) -> LocalCluster:
    """The cluster that a plan describes; writes and starts nothing.

    Raises InvalidArgument for settings that contradict each other and for a folder that holds the data of its
    nodes, PortTaken.
    """
    check_shape(name, nodes=plan.nodes, replicas=plan.owners, partitions=plan.partitions)
    if not 0 <= plan.zones <= plan.nodes:
        raise InvalidArgument(f"--zones is {plan.zones}, but there are {plan.nodes} nodes to spread")
    tcp_ports.check_free(range(plan.base_port, plan.base_port + plan.nodes))
    nodes = tuple(
        LocalNode(
            id=f"n{index + 1}",
            address=f"{tcp_ports.HOST}:{plan.base_port + index}",
            zone=f"z{index % plan.zones + 1}" if plan.zones else "",
        )
        for index in range(plan.nodes)
    )
    cluster = LocalCluster(name, folder, plan.owners, plan.partitions, nodes)
    _check_holds_no_data(cluster)
    return cluster


def _check_holds_no_data(cluster: LocalCluster) -> None:
    """Raise InvalidArgument when a former cluster would come back under a new cluster.json."""
    if held := [node.id for node in cluster.nodes if holds_data(cluster, node)]:
        raise InvalidArgument(
            f"{cluster.folder} holds data of {', '.join(held)}, and no {STATE_FILE}",
            hint=f"put its {STATE_FILE} back, or choose another --cluster NAME, or remove the folder",
        )


def holds_data(cluster: LocalCluster, node: LocalNode) -> bool:
    """Whether there is anything in the folder of its data."""
    folder = cluster.data_folder(node)
    return os.path.isdir(folder) and bool(os.listdir(folder))


def start_nodes(cluster: LocalCluster, nodes: Sequence[LocalNode]) -> tuple[LocalCluster, list[Started]]:
    """Start a process for each node and write their pids down.  Raises PortTaken."""
    assert len({node.id for node in nodes}) == len(nodes), "one process would take the record of another"
    are_settled = any(node.pid for node in cluster.nodes)
    tcp_ports.check_free([node.port for node in nodes], are_settled=are_settled)
    save_cluster(cluster)
    make_token(cluster.folder)
    if cluster.tls:
        from ringmill.client.local.authority.local_tls import certify

        certify(cluster)
    for node in nodes:
        if os.path.isdir(cluster.data_folder(node)):
            tighten(cluster.data_folder(node))
    started: list[Started] = []
    try:
        for node in nodes:
            with processes.signals_held():  # else a process may be left that no record names
                one = _start(cluster, node)
                started.append(one)
                cluster = cluster.with_node(one.node)
                save_cluster(cluster)
    except BaseException:
        for one in started:
            one.process.kill()
        for one in started:
            processes.wait_gone(one.node.pid, one.node.started, KILL_PATIENCE_S)
        raise
    return cluster, started


def node_state(node: LocalNode) -> str:
    """The state of a node's process: "running", "paused" or "stopped"."""
    found = processes.find_process(node.pid)
    if found is None or found.mark != node.started:
        return "stopped"
    return "paused" if found.is_stopped else "running"


def signal_node(node: LocalNode, number: signal.Signals) -> None:
    """Signal the process of a node.  Raises NotFound when it is not running."""
    if not processes.signal_process(node.pid, node.started, number):
        raise not_running(node)


def check_run(nodes: Sequence[LocalNode]) -> None:
    """Raise NotFound when one of them has no process, before any is signalled."""
    for node in nodes:
        if node_state(node) == "stopped":
            raise not_running(node)


def not_running(node: LocalNode) -> NotFound:
    """The error for a node without a process."""
    return NotFound(f"{node.id} is not running (pid {node.pid})", hint=f"ringmill cluster restart {node.id}")


def stop_nodes(nodes: Sequence[LocalNode]) -> dict[str, str]:
    """Send SIGTERM to all, then SIGKILL to those that do not end in time.  Returns how each ended, by id."""
    ended = {}
    for node in nodes:
        if node_state(node) == "paused":
            processes.signal_process(node.pid, node.started, signal.SIGCONT)
        was_there = processes.signal_process(node.pid, node.started, signal.SIGTERM)
        ended[node.id] = "stopped" if was_there else "was not running"
    for node in nodes:
        if not processes.wait_gone(node.pid, node.started, STOP_PATIENCE_S):
            processes.signal_process(node.pid, node.started, signal.SIGKILL)
            ended[node.id] = f"killed, as it had not stopped after {STOP_PATIENCE_S:.0f} s"
            if not processes.wait_gone(node.pid, node.started, KILL_PATIENCE_S):
                raise RingmillError(
                    f"{node.id} (pid {node.pid}) is still there {KILL_PATIENCE_S:.0f} s after SIGKILL",
                    hint="it may be waiting for a disk; try again",
                )
    return ended


def purge(cluster: LocalCluster) -> None:
    """Remove data, logs and token of a cluster whose processes have ended, by whoever holds its lock.

    cluster.json goes last but the lock, so that a purge that was interrupted can be repeated, and no data
    stays without it.  Then the lock: whoever waits for it finds nothing of the cluster.
    """
    assert all(node_state(node) == "stopped" for node in cluster.nodes)
    for name in os.listdir(cluster.folder):
        path = os.path.join(cluster.folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        elif name not in {STATE_FILE, _LOCK}:
            os.unlink(path)
    for name in (STATE_FILE, _LOCK):
        os.unlink(os.path.join(cluster.folder, name))
    with suppress(OSError):  # another command begins a cluster here
        os.rmdir(cluster.folder)


def _start(cluster: LocalCluster, node: LocalNode) -> Started:
    process = processes.spawn(_command(cluster, node), log_path=cluster.log_path(node), folder=cluster.folder)
    return Started(replace(node, pid=process.pid, started=processes.start_mark(process.pid)), process)


def _command(cluster: LocalCluster, node: LocalNode) -> list[str]:
    command = [
        "-m", "ringmill.node",
        "--id", node.id,
        "--listen", node.address,
        "--data", cluster.data_folder(node),
        "--token-file", token_path(cluster.folder),
        "--profile", "fast",
        "--peer-transport", cluster.peer_transport,
        "--client-transport", cluster.client_transport,
        "--log-file", cluster.log_path(node),
    ]  # fmt: skip
    if port := cluster.metrics_port(node):
        command += ["--metrics", str(port)]
    if cluster.tls:
        from ringmill.client.local.authority.local_tls import node_flags

        command += node_flags(cluster, node.id)
    return [*command, "--zone", node.zone] if node.zone else command
