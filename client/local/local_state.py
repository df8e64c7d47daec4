"""The state of a local cluster on disk: `HOME/NAME/cluster.json`, its token, its folders.

    HOME/NAME/                mode 0700: only the owner may see values and logs
    HOME/NAME/cluster.json    nodes with address, pid and the mark of the process's start
    HOME/NAME/token           the cluster's token, mode 0600
    HOME/NAME/n1/ ...         the data folder of each node
    HOME/NAME/logs/n1.log     the log of each node

This file only reads and writes; client/local/processes.py knows processes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ringmill.cluster.adapters.files.private_files import (
    distrust,
    make_private_folder,
    open_private,
    replace_private,
    tighten,
)
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, PermissionDenied
from ringmill.cluster.wire.offers import CARRIERS, CarrierName

__all__ = [
    "STATE_FILE",
    "LocalCluster",
    "LocalNode",
    "check_home",
    "check_node_id",
    "cluster_names",
    "load_cluster",
    "make_token",
    "new_secret",
    "read_token",
    "save_cluster",
    "token_path",
]

FORMAT = 1
STATE_FILE = "cluster.json"
_TRANSPORTS = ("peer_transport", "client_transport")  # "grpc" in a cluster.json that does not name them
_NODE_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of a local cluster.

    `started` identifies the process together with its pid; pid 0: never started.
    """

    id: str
    address: str
    zone: str
    pid: int = 0
    started: str = ""

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A local cluster as stored in cluster.json.  `folder` is an absolute path and is not stored."""

    name: str
    folder: str
    replicas: int
    partitions: int
    nodes: tuple[LocalNode, ...]
    peer_transport: CarrierName = "grpc"
    client_transport: CarrierName = "grpc"
    metrics_shift: int = 0  # a node serves metrics at its port and that; 0: none does
    tls: bool = False  # its certificates are in the folder tls (client/local/authority/local_tls.py)

    def node(self, name: str) -> LocalNode:
        """The node of that name.  Raises NotFound, which lists the nodes."""
        for node in self.nodes:
            if node.id == name:
                return node
        known = ", ".join(node.id for node in self.nodes)
        raise NotFound(f"cluster {self.name} has no node {name!r}", hint=f"its nodes: {known}")

    def chosen(self, names: Sequence[str]) -> list[LocalNode]:
        """The named nodes, or all when none is named.

        Raises NotFound, and InvalidArgument for a name that comes twice: its node would be started twice.
        """
        if len(set(names)) < len(names):
            raise InvalidArgument(f"a node is named twice: {' '.join(names)}")
        return [self.node(name) for name in names] if names else list(self.nodes)

    def with_node(self, changed: LocalNode) -> LocalCluster:
        nodes = tuple(changed if node.id == changed.id else node for node in self.nodes)
        return replace(self, nodes=nodes)

    def with_new(self, fresh: LocalNode) -> LocalCluster:
        return replace(self, nodes=(*self.nodes, fresh))

    def without(self, name: str) -> LocalCluster:
        return replace(self, nodes=tuple(node for node in self.nodes if node.id != name))

    def with_transports(self, peer: CarrierName | None, client: CarrierName | None) -> LocalCluster:
        """With those that are given; None leaves one as it is."""
        return replace(
            self,
            peer_transport=peer or self.peer_transport,
            client_transport=client or self.client_transport,
        )

    def metrics_port(self, node: LocalNode) -> int:
        """Where a node serves metrics; 0 for nowhere."""
        return node.port + self.metrics_shift if self.metrics_shift else 0

    def data_folder(self, node: LocalNode) -> str:
        return os.path.join(self.folder, node.id)

    def log_path(self, node: LocalNode) -> str:
        return os.path.join(self.folder, "logs", f"{node.id}.log")


def load_cluster(folder: str) -> LocalCluster | None:
    """The cluster of a folder, or None.

    Raises CorruptData when cluster.json is damaged; PermissionDenied when another user may have written it,
    because signals are sent to the pids in it.
    """
    path = os.path.join(folder, STATE_FILE)
    try:
        text = _read_own(path)
        written = json.loads(text)
        if written["format"] != FORMAT:
            raise CorruptData(f"{path} has format {written['format']}, this release reads {FORMAT}")
        nodes = tuple(LocalNode(**node) for node in written["nodes"])
        cluster = LocalCluster(
            *(written["name"], folder, written["replicas"], written["partitions"], nodes),
            **{name: written[name] for name in (*_TRANSPORTS, "tls", "metrics_shift") if name in written},
        )
        _check_written(cluster)
    except FileNotFoundError:
        return None
    except (InvalidArgument, ValueError, KeyError, TypeError) as error:
        raise CorruptData(
            f"{path} cannot be read: {error.args[0]!r} is missing"
            if isinstance(error, KeyError)
            else f"{path} cannot be read: {error}",
            hint="the folders of nodes beside it hold their data: correct the file, or put a copy of it back",
        ) from error
    return cluster


def save_cluster(cluster: LocalCluster) -> None:
    """Replace cluster.json atomically and durably: a reader sees the old one or the new one."""
    make_private_folder(os.path.join(cluster.folder, "logs"))
    tighten(cluster.folder)
    document = {
        "format": FORMAT,
        "name": cluster.name,
        "replicas": cluster.replicas,
        "partitions": cluster.partitions,
        **{name: getattr(cluster, name) for name in _TRANSPORTS},
        **({"tls": True} if cluster.tls else {}),
        **({"metrics_shift": cluster.metrics_shift} if cluster.metrics_shift else {}),
        "nodes": [asdict(node) for node in cluster.nodes],
    }
    written = json.dumps(document, indent=2) + "\n"
    replace_private(os.path.join(cluster.folder, STATE_FILE), written.encode(), is_synced=True)


def check_node_id(name: str) -> None:
    """Raise InvalidArgument for what no node of a local cluster is called: it names a folder, beside files of
    the cluster, also where upper and lower case are the same."""
    if not _NODE_ID.fullmatch(name):
        raise InvalidArgument(
            f"node id {name[:40]!r} is not a name of a local node: need 1 to 32 of a-z 0-9 -, first a letter"
        )


def cluster_names(home: str) -> list[str]:
    """Names of the local clusters in `home`, sorted."""
    if not os.path.isdir(home):
        return []
    return sorted(name for name in os.listdir(home) if os.path.exists(os.path.join(home, name, STATE_FILE)))


def token_path(folder: str) -> str:
    return os.path.join(folder, "token")


def make_token(folder: str) -> None:
    """Write a random token that only its owner can read; keeps one that exists.

    An empty one that no node can have used, as none holds data, is what a loss of power has left.

    Raises PermissionDenied for one that another user may have written.
    """
    make_private_folder(folder)
    path = token_path(folder)
    try:
        handle = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        _check_own(path)
        os.chmod(path, 0o600)
        if os.path.getsize(path) or _holds_data(folder):
            return
    else:
        os.close(handle)
    replace_private(path, new_secret(), is_synced=True)


def new_secret() -> bytes:
    """The line of a token file: 32 random bytes, as a cluster's secret."""
    import secrets

    return f"{secrets.token_urlsafe(32)}\n".encode()


def _holds_data(folder: str) -> bool:
    """Whether a node of the cluster has begun to write its data."""
    return any(os.path.exists(os.path.join(folder, each, "IDENTITY")) for each in os.listdir(folder))


def read_token(folder: str) -> str:
    """The token of a local cluster; "" when it has none.

    Raises PermissionDenied when another user may have written it.
    """
    try:
        return _read_own(token_path(folder)).strip()
    except FileNotFoundError:
        return ""


def check_home(home: str) -> None:
    """Raise PermissionDenied when other users can put files into the folder of clusters."""
    if os.path.isdir(home) and (why := distrust(home, follow=True)):
        raise PermissionDenied(
            f"local clusters cannot be kept in {home}: {why}",
            hint=f"`chmod go-w {home}` if it is yours, or name another folder in RINGMILL_HOME",
        )


def _check_written(cluster: LocalCluster) -> None:
    """Raise ValueError for a cluster.json of the right form with impossible values."""
    for what, count in (("replicas", cluster.replicas), ("partitions", cluster.partitions)):
        if type(count) is not int or count < 1:
            raise ValueError(f"{what} is {count!r}; it must be a number above 0")
    if type(cluster.metrics_shift) is not int:
        raise ValueError(f"metrics_shift is {cluster.metrics_shift!r}, not a number")
    if type(cluster.tls) is not bool:
        raise ValueError(f"tls is {cluster.tls!r}, not true or false")
    if type(cluster.name) is not str or not cluster.nodes:
        raise ValueError("it names no nodes" if not cluster.nodes else f"its name is {cluster.name!r}")
    for what, name in zip(_TRANSPORTS, (cluster.peer_transport, cluster.client_transport), strict=True):
        if name not in CARRIERS:
            raise ValueError(f"{what} is {name!r}, not one of {', '.join(CARRIERS)}")
    for node in cluster.nodes:
        _check_node(node)
    if len({node.id for node in cluster.nodes}) < len(cluster.nodes):
        raise ValueError("it names a node twice")


def _check_node(node: LocalNode) -> None:
    texts = {"id": node.id, "address": node.address, "zone": node.zone, "started": node.started}
    for what, text in texts.items():
        if type(text) is not str:
            raise ValueError(f"the {what} of a node is {text!r}, not a text")
    check_node_id(node.id)
    host, _, port = node.address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"the address of {node.id} is {node.address[:40]!r}, not host:port")
    if type(node.pid) is not int or node.pid < 0:
        raise ValueError(f"the pid of {node.id} is {node.pid!r}")


def _read_own(path: str) -> str:
    """The text of a file that no other user can have written.  Raises PermissionDenied, FileNotFoundError."""
    _check_own(path)
    with os.fdopen(open_private(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read()


def _check_own(path: str) -> None:
    if why := distrust(path):
        raise PermissionDenied(
            f"{path} is not trusted: {why}",
            hint=f"see `ls -l {path}`; remove it when it is not yours, else `chmod 600` it",
        )
