"""What is written down about a local cluster: `HOME/NAME/cluster.json`, its token, its folders.

    HOME/NAME/cluster.json    nodes with address, pid and the mark of the process's start
    HOME/NAME/token           the cluster's token, mode 0600
    HOME/NAME/n1/ ...         a data folder a node
    HOME/NAME/logs/n1.log     what a node says

Only reads and writes; processes are client/cli/processes.py's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from cluster.errors import CorruptData, NotFound

__all__ = [
    "LocalCluster",
    "LocalNode",
    "cluster_names",
    "load_cluster",
    "make_token",
    "read_token",
    "save_cluster",
    "token_path",
]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of a local cluster.  `started` marks the process with that pid; pid 0: never started."""

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
    """A local cluster as cluster.json has it.  `folder` is absolute and not written down."""

    name: str
    folder: str
    replicas: int
    partitions: int
    nodes: tuple[LocalNode, ...]

    def node(self, name: str) -> LocalNode:
        """Raises NotFound that lists the nodes."""
        for node in self.nodes:
            if node.id == name:
                return node
        known = ", ".join(node.id for node in self.nodes)
        raise NotFound(f"cluster {self.name} has no node {name!r}", hint=f"its nodes: {known}")

    def chosen(self, names: Sequence[str]) -> list[LocalNode]:
        """The named nodes, or all when none is named."""
        return [self.node(name) for name in names] if names else list(self.nodes)

    def with_node(self, changed: LocalNode) -> LocalCluster:
        nodes = tuple(changed if node.id == changed.id else node for node in self.nodes)
        return replace(self, nodes=nodes)

    def data_folder(self, node: LocalNode) -> str:
        return os.path.join(self.folder, node.id)

    def log_path(self, node: LocalNode) -> str:
        return os.path.join(self.folder, "logs", f"{node.id}.log")


def load_cluster(folder: str) -> LocalCluster | None:
    """The cluster of a folder, or None.  Raises CorruptData when cluster.json is not what was written."""
    path = os.path.join(folder, "cluster.json")
    try:
        with open(path, encoding="utf-8") as file:
            written = json.load(file)
        if written["format"] != FORMAT:
            raise CorruptData(f"{path} has format {written['format']}, this release reads {FORMAT}")
        nodes = tuple(LocalNode(**node) for node in written["nodes"])
        return LocalCluster(written["name"], folder, written["replicas"], written["partitions"], nodes)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(
            f"{path} cannot be read: {error}", hint=f"stop its processes by hand and remove {folder}"
        ) from error


def save_cluster(cluster: LocalCluster) -> None:
    """Write cluster.json as a whole: a reader sees the former or the new one."""
    os.makedirs(os.path.join(cluster.folder, "logs"), exist_ok=True)
    document = {
        "format": FORMAT,
        "name": cluster.name,
        "replicas": cluster.replicas,
        "partitions": cluster.partitions,
        "nodes": [asdict(node) for node in cluster.nodes],
    }
    path = os.path.join(cluster.folder, "cluster.json")
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.new", path)


def cluster_names(home: str) -> list[str]:
    """Names of the local clusters kept in `home`, sorted."""
    if not os.path.isdir(home):
        return []
    return sorted(
        name for name in os.listdir(home) if os.path.exists(os.path.join(home, name, "cluster.json"))
    )


def token_path(folder: str) -> str:
    return os.path.join(folder, "token")


def make_token(folder: str) -> None:
    """Write a fresh token, readable by its owner alone; one that exists is kept."""
    import secrets

    os.makedirs(folder, exist_ok=True)
    try:
        handle = os.open(token_path(folder), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def read_token(folder: str) -> str:
    """The token of a local cluster; "" when it has none."""
    try:
        with open(token_path(folder), encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
