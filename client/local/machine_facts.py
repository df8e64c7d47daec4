"""Gathers what the doctor wants to know about a local cluster and this machine, without asking a node."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import stat
from importlib.metadata import version

from ringmill.client.doctor.machine_checks import MachineFacts
from ringmill.client.local.local_cluster import node_state
from ringmill.client.local.local_state import LocalCluster, token_path
from ringmill.client.local.tcp_ports import is_free, owner_of

__all__ = ["machine_facts"]

_SOFTWARE = ("ringmill", "grpcio", "protobuf", "uvloop")


def machine_facts(cluster: LocalCluster) -> MachineFacts:
    """The machine and its folder as they are now."""
    states = {node.id: node_state(node) for node in cluster.nodes}
    takers = {
        node.id: owner_of(node.port)
        for node in cluster.nodes
        if states[node.id] == "stopped" and not is_free(node.port)
    }
    used = shutil.disk_usage(cluster.folder)
    return MachineFacts(
        folder=cluster.folder,
        states=states,
        recorded={node.id: node.pid for node in cluster.nodes},
        takers=takers,
        modes=_modes(cluster),
        days_left=_days_left(cluster),
        disk_used=(used.total - used.free) / used.total,
        open_files=_hard_limit(),
        software={"Python": platform.python_version(), **{name: version(name) for name in _SOFTWARE}},
    )


def _modes(cluster: LocalCluster) -> dict[str, int]:
    """Of folders where they are: one may be a link to another disk, which nodes follow.  Of files as they
    are: a link is none of ours."""
    folders = [cluster.folder, os.path.join(cluster.folder, "logs"), *map(cluster.data_folder, cluster.nodes)]
    files = [token_path(cluster.folder), *map(cluster.log_path, cluster.nodes)]
    there = [os.path.realpath(path) if os.path.islink(path) else path for path in folders]
    paths = [*filter(os.path.exists, there), *filter(os.path.lexists, files)]
    return {path: stat.S_IMODE(os.lstat(path).st_mode) for path in paths}


def _days_left(cluster: LocalCluster) -> dict[str, int]:
    if not cluster.tls:
        return {}
    from ringmill.client.local.authority.local_tls import authority_of

    members = {node.id for node in cluster.nodes}
    left: dict[str, int] = {}
    for shown in authority_of(cluster.folder).show():
        is_ours = shown.state == "signs" or (shown.state in {"valid", "expired"} and shown.name in members)
        if is_ours:
            left[shown.name] = max(shown.days_left, left.get(shown.name, shown.days_left))
    return left


def _hard_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 30 if hard == resource.RLIM_INFINITY else hard
