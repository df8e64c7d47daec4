"""Brings a local cluster up: a new one, or the stopped nodes of one that exists."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from ringmill.client.local import local_cluster
from ringmill.client.local.authority.local_tls import check_can_have_tls
from ringmill.client.local.local_cluster import Plan, Started
from ringmill.client.local.local_state import LocalCluster, LocalNode, check_home, load_cluster, save_cluster
from ringmill.client.local.tcp_ports import LIMIT
from ringmill.cluster.errors import Conflict, DeadlineExceeded, InvalidArgument, RingmillError
from ringmill.cluster.ring.topology_entries import check_name
from ringmill.cluster.wire.offers import CarrierName

__all__ = ["bring_up"]

UP_TIMEOUT_S = 30.0
CHECK_S = 2.0  # for nodes that were not started here


def _say_nothing(_words: str) -> None:
    pass


def bring_up(
    name: str,
    folder: str,
    plan: dict[str, int],
    timeout_s: float | None,
    *,
    base_port: int | None = None,
    peer_transport: CarrierName | None = None,
    client_transport: CarrierName | None = None,
    metrics_base_port: int | None = None,
    tls: bool = False,
    tell: Callable[[str], None] = _say_nothing,
) -> tuple[LocalCluster, list[str]]:
    """Make the named cluster run.  Returns it and the ids of the nodes that had to be started.

    `base_port` is for a new cluster whose plan names none.  Given transports, and ports for metrics, apply to
    the nodes that start from now on.  Everything is checked before the first file is written.  A failure
    stops only the nodes that this call started.  Nodes that run and are not members are left, and told of.
    Raises InvalidArgument when the cluster exists with other settings than `plan`, or when `plan` is not
    valid; Conflict when nodes are on other disks than it names, whoever started them: then all are left
    running.  `tell` gets what a user should know besides.
    """
    there = _there_or_planned(name, folder, plan, base_port)  # raises while nothing is touched
    carriers = (peer_transport, client_transport)
    _metered(_carried(there, carriers, is_new=load_cluster(folder) is None, tls=tls), metrics_base_port)
    with local_cluster.exclusively(folder):
        cluster = load_cluster(folder)
        is_new = cluster is None
        cluster = _carried(cluster or there, carriers, is_new=is_new, tls=tls)
        cluster = _metered(cluster, metrics_base_port)
        _check_shape(cluster, plan)
        stopped = [node for node in cluster.nodes if local_cluster.node_state(node) == "stopped"]
        if not stopped:
            save_cluster(cluster)
            _check_formed(cluster, timeout_s or UP_TIMEOUT_S, tell)
            return cluster, []
        cluster, started = local_cluster.start_nodes(cluster, stopped)
        try:
            cluster, started = _form_members(cluster, started, timeout_s or UP_TIMEOUT_S, tell)
        except BaseException as error:
            if isinstance(error, Conflict) and "other_disks" in error.detail:  # an operator has to say a word
                names = " ".join(one.node.id for one in started)
                error.detail["changed"] = f"{names} started and left running"
                raise
            local_cluster.stop_nodes([one.node for one in started])  # nothing half-started is left running
            if isinstance(error, RingmillError):
                error.detail["changed"] = _undone(cluster, stopped, is_new=is_new)
            raise
        return cluster, [one.node.id for one in started]


def _carried(
    cluster: LocalCluster, carriers: tuple[CarrierName | None, CarrierName | None], *, is_new: bool, tls: bool
) -> LocalCluster:
    """The cluster with the transports that are given, and with TLS if it is new and that is asked.

    Raises InvalidArgument for what does not go together.
    """
    if tls and not cluster.tls:
        check_can_have_tls(cluster.name)
        if not is_new:
            raise InvalidArgument(
                f"cluster {cluster.name} exists without --tls",
                hint="choose another --cluster NAME, or `ringmill cluster down --purge` first",
            )
        cluster = replace(cluster, tls=True, peer_transport="tcp")
    cluster = cluster.with_transports(*carriers)
    if cluster.tls and cluster.peer_transport != "tcp":
        raise InvalidArgument(f"--peer-transport {cluster.peer_transport}: with --tls nodes talk over tcp")
    return cluster


def _metered(cluster: LocalCluster, base_port: int | None) -> LocalCluster:
    """The cluster whose nodes serve metrics, the first of them at this port; None changes nothing.

    Raises InvalidArgument for ports that nodes have for other things.
    """
    if base_port is None:
        return cluster
    first = cluster.nodes[0].port
    cluster = replace(cluster, metrics_shift=base_port - first)
    taken = {node.port: node.id for node in cluster.nodes}
    ports = [node.port + base_port - first for node in cluster.nodes]
    if clash := [port for port in ports if port in taken]:
        raise InvalidArgument(
            f"--metrics-base-port {base_port} and --base-port {first}: port {clash[0]} is the "
            f"port of node {taken[clash[0]]}",
            hint=f"leave {len(ports)} ports or more between the two",
        )
    if not 0 < min(ports) <= max(ports) < LIMIT:
        raise InvalidArgument(
            f"--metrics-base-port {base_port}: the nodes would have ports {min(ports)} to {max(ports)}, "
            f"which must be from 1 to {LIMIT - 1}"
        )
    return cluster


def _form_members(
    cluster: LocalCluster, started: Sequence[Started], timeout_s: float, tell: Callable[[str], None]
) -> tuple[LocalCluster, list[Started]]:
    """Form the cluster without nodes that are not members: they left, or their `cluster add` was refused.

    Those that were started here are stopped and forgotten; the others run on.
    """
    started = list(started)
    try:
        _form(cluster, started, timeout_s)
    except InvalidArgument as error:
        strangers = error.detail.get("strangers", ())
        members = [node.id for node in cluster.nodes if node.id not in strangers]
        if not strangers or not members:
            raise
        ours = [one for one in started if one.node.id in strangers]
        cluster = _without(cluster, ours, tell)
        _tell_strangers(cluster, strangers, tell)
        started = [one for one in started if one not in ours]
        _form(_only(cluster, members), started, timeout_s)
    return cluster, started


def _without(
    cluster: LocalCluster, strangers: Sequence[Started], tell: Callable[[str], None]
) -> LocalCluster:
    """Stop and forget these, which are not members."""
    if not strangers:
        return cluster
    local_cluster.stop_nodes([one.node for one in strangers])
    names = [one.node.id for one in strangers]
    for name in names:
        cluster = cluster.without(name)
    save_cluster(cluster)
    tell(f"{', '.join(names)}: no member of cluster {cluster.name} any more; stopped, and data kept")
    return cluster


def _tell_strangers(cluster: LocalCluster, strangers: Sequence[str], tell: Callable[[str], None]) -> None:
    if running := [node.id for node in cluster.nodes if node.id in strangers]:
        tell(
            f"{', '.join(running)}: running, and no member of cluster {cluster.name}; "
            f"`ringmill --cluster {cluster.name} cluster stop {' '.join(running)}` ends it"
        )


def _only(cluster: LocalCluster, names: Sequence[str]) -> LocalCluster:
    return replace(cluster, nodes=tuple(node for node in cluster.nodes if node.id in names))


def _there_or_planned(name: str, folder: str, plan: dict[str, int], base_port: int | None) -> LocalCluster:
    check_name("--cluster", name)
    check_home(os.path.dirname(folder))
    cluster = load_cluster(folder)
    if cluster is not None:
        local_cluster.check_is_no_copy(cluster)
        _check_shape(cluster, plan)
        return cluster
    defaults = {} if base_port is None else {"base_port": base_port}
    return local_cluster.planned(name, folder, Plan(**{**defaults, **plan}))


def _undone(cluster: LocalCluster, started: Sequence[LocalNode], *, is_new: bool) -> str:
    """What a failed `up` did and undid, for its error."""
    others = [node.id for node in cluster.nodes if node not in started]
    words = f"{' '.join(node.id for node in started)} started and stopped again"
    if others:
        words += f", {' '.join(others)} left running"
    return f"{words}; {'made and kept' if is_new else 'kept'}: {cluster.folder}"


def _form(cluster: LocalCluster, started: Sequence[Started], timeout_s: float) -> None:
    from ringmill.client.local.local_forming import form_local

    asyncio.run(form_local(cluster, {one.node.id: one.process for one in started}, timeout_s))


def _check_formed(cluster: LocalCluster, timeout_s: float, tell: Callable[[str], None]) -> None:
    """Look at a cluster whose nodes all run, and form it if an `up` that was interrupted did not get there.

    Raises what forming raises, as Conflict when nodes are on other disks than the cluster names.  Nodes that
    belong to a cluster and are not ready soon are not an error here.
    """
    tell = cache(tell)  # not again when it is formed again
    try:
        _form_members(cluster, (), CHECK_S, tell)
    except DeadlineExceeded:
        if _are_unformed(cluster):
            _form_members(cluster, (), timeout_s, tell)


def _are_unformed(cluster: LocalCluster) -> bool:
    """Whether a node that runs and is not paused does not say that it belongs to a cluster."""
    from ringmill.client.local.local_forming import are_formed

    awake = [node.id for node in cluster.nodes if local_cluster.node_state(node) == "running"]
    return not asyncio.run(are_formed(_only(cluster, awake), CHECK_S))


def _check_shape(cluster: LocalCluster, plan: dict[str, int]) -> None:
    there = {
        "nodes": len(cluster.nodes),
        "replicas": cluster.replicas,
        "partitions": cluster.partitions,
        "base_port": cluster.nodes[0].port,
        "zones": len({node.zone for node in cluster.nodes if node.zone}),
    }
    for setting, wanted in plan.items():
        if wanted != there[setting]:
            raise InvalidArgument(
                f"cluster {cluster.name} exists with {setting} {there[setting]}, not {wanted}",
                hint="choose another --cluster NAME, or `ringmill cluster down --purge` first",
            )
