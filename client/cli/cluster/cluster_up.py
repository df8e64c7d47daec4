"""`ringmill cluster up` and `down`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.authority.local_tls import check_can_have_tls
from ringmill.client.local.local_cluster import Plan, Started
from ringmill.client.local.local_state import LocalCluster, LocalNode, check_home, load_cluster, save_cluster
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.ring.topology_entries import check_name
from ringmill.cluster.wire.offers import CARRIERS, CarrierName

__all__ = ["bring_up", "down", "up"]

UP_TIMEOUT_S = 30.0
TRANSPORT = click.Choice(CARRIERS)


@click.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 100), help="number of nodes  [5]")
@click.option(
    "--replicas",
    type=click.IntRange(1, 7),
    help="owners of each partition  [3, or fewer if there are fewer nodes]",
)
@click.option("--partitions", type=int, help="a power of two; cannot be changed later  [256]")
@click.option("--base-port", type=int, help="port of the first node  [7101, or RINGMILL_BASE_PORT]")
@click.option("--zones", type=click.IntRange(1), help="number of zones to spread the nodes over")
@click.option("--peer-transport", type=TRANSPORT, help="carrier of frames between nodes  [grpc]")
@click.option("--client-transport", type=TRANSPORT, help="carrier that is offered to clients  [grpc]")
@click.option("--tls", is_flag=True, help="make certificates, and have nodes and clients speak TLS only")
@pass_local
def up(
    settings: Settings,
    /,
    peer_transport: CarrierName | None,
    client_transport: CarrierName | None,
    tls: bool,
    **shape: int | None,
) -> None:
    """Start a local cluster, or the stopped nodes of one that exists."""
    begun = time.perf_counter()
    plan = {name: value for name, value in shape.items() if value is not None}
    cluster, fresh = bring_up(
        *(settings.cluster, settings.cluster_folder, plan, settings.timeout),
        base_port=settings.base_port,
        peer_transport=peer_transport,
        client_transport=client_transport,
        tls=tls,
    )
    took_s = time.perf_counter() - begun
    document: dict[str, Any] = {
        "cluster": cluster.name,
        "already_running": not fresh,
        "started": fresh,
        "seconds": round(took_s, 3),
        "folder": cluster.folder,
        "peer_transport": cluster.peer_transport,
        "client_transport": cluster.client_transport,
        "tls": cluster.tls,
        "nodes": [{"id": node.id, "address": node.address, "pid": node.pid} for node in cluster.nodes],
    }
    ports = f"{cluster.nodes[0].address}-{cluster.nodes[-1].port}"
    size = f"{len(cluster.nodes)} nodes on {ports}, {cluster.partitions} partitions, N={cluster.replicas}"
    if settings.output == "json":
        output.show(settings, document, (), ())
    elif not fresh:
        print(f"cluster {cluster.name} is already running: {size}")
    else:
        started = "" if len(fresh) == len(cluster.nodes) else f" (started {' '.join(fresh)})"
        print(f"cluster {cluster.name} is up in {took_s:.1f} s: {size}{started}")
    if (peer_transport or client_transport) and len(fresh) < len(cluster.nodes):
        output.note("a node that was running keeps its transports until `ringmill cluster restart`")
    output.next_command(
        settings, "ringmill put hello world", "ringmill cluster status", "ringmill cluster kill n3"
    )


@click.command()
@click.option("--purge", is_flag=True, help="also delete data and logs")
@pass_local
def down(settings: Settings, purge: bool) -> None:
    """Stop all nodes with SIGTERM, then SIGKILL those that have not stopped after some seconds."""
    folder = settings.cluster_folder
    begun = time.perf_counter()
    local_cluster.required_cluster(folder)
    with local_cluster.exclusively(folder):
        cluster = local_cluster.required_cluster(folder)
        ended = local_cluster.stop_nodes(cluster.nodes)
        if purge:
            local_cluster.purge(cluster)
    took_s = time.perf_counter() - begun
    stopped = sum(how != "was not running" for how in ended.values())
    kept = "data removed" if purge else f"data kept in {folder}"
    document = {"cluster": cluster.name, "stopped": stopped, "seconds": round(took_s, 3), "nodes": ended}
    if settings.output == "json":
        output.show(settings, document, (), ())
        return
    for node, how in ended.items():
        if how.startswith("killed"):
            output.note(f"{node} was {how}")
    print(f"stopped {stopped} of {len(ended)} nodes in {took_s:.1f} s; {kept}")
    if not purge:
        output.next_command(settings, "ringmill cluster up", "ringmill cluster down --purge")


def bring_up(
    name: str,
    folder: str,
    plan: dict[str, int],
    timeout_s: float | None,
    *,
    base_port: int | None = None,
    peer_transport: CarrierName | None = None,
    client_transport: CarrierName | None = None,
    tls: bool = False,
) -> tuple[LocalCluster, list[str]]:
    """Make the named cluster run.  Returns it and the ids of the nodes that had to be started.

    `base_port` is for a new cluster whose plan names none.  Given transports apply to the nodes that start
    from now on.  Everything is checked before the first file is written.  A failure stops only the nodes that
    this call started. Raises InvalidArgument when the cluster exists with other settings than `plan`, or when
    `plan` is not valid.
    """
    there = _there_or_planned(name, folder, plan, base_port)  # raises while nothing is touched
    if tls:
        check_can_have_tls(name)
    with local_cluster.exclusively(folder):
        cluster = load_cluster(folder)
        is_new = cluster is None
        cluster = _with_tls(cluster or there, is_new=is_new, tls=tls)
        cluster = cluster.with_transports(peer_transport, client_transport)
        if cluster.tls and cluster.peer_transport != "tcp":
            raise InvalidArgument(
                f"--peer-transport {cluster.peer_transport}: with --tls nodes talk over tcp"
            )
        _check_shape(cluster, plan)
        stopped = [node for node in cluster.nodes if local_cluster.node_state(node) == "stopped"]
        if not stopped:
            save_cluster(cluster)
            return cluster, []
        cluster, started = local_cluster.start_nodes(cluster, stopped)
        try:
            try:
                _form(cluster, started, timeout_s or UP_TIMEOUT_S)
            except InvalidArgument as error:
                cluster, started = _without_strangers(cluster, started, error)
                _form(cluster, started, timeout_s or UP_TIMEOUT_S)
        except BaseException as error:
            local_cluster.stop_nodes([one.node for one in started])  # nothing half-started is left running
            if isinstance(error, RingmillError):
                error.detail["changed"] = _undone(cluster, stopped, is_new=is_new)
            raise
        return cluster, [one.node.id for one in started]


def _with_tls(cluster: LocalCluster, *, is_new: bool, tls: bool) -> LocalCluster:
    """A new cluster gets what is asked; one that exists keeps what it has.  Raises InvalidArgument."""
    if not tls or cluster.tls:
        return cluster
    if not is_new:
        raise InvalidArgument(
            f"cluster {cluster.name} exists without --tls",
            hint="choose another --cluster NAME, or `ringmill cluster down --purge` first",
        )
    return replace(cluster, tls=True, peer_transport="tcp")


def _without_strangers(
    cluster: LocalCluster, started: Sequence[Started], error: InvalidArgument
) -> tuple[LocalCluster, list[Started]]:
    """Stop and forget nodes that were started here and are no members, as those that left meanwhile,
    and those whose `cluster add` was refused.  Raises `error` when it is about something else."""
    strangers = error.detail.get("strangers", ())
    ours = [one for one in started if one.node.id in strangers]
    if not ours or len(ours) < len(strangers):
        raise error
    local_cluster.stop_nodes([one.node for one in ours])
    for name in strangers:
        cluster = cluster.without(name)
    save_cluster(cluster)
    output.note(
        f"{', '.join(strangers)}: no member of cluster {cluster.name} any more; stopped, and data kept"
    )
    return cluster, [one for one in started if one not in ours]


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
