"""`ringmill cluster up` and `down`."""

from __future__ import annotations

import time
from typing import Any

import click

from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.bringing_up import bring_up
from ringmill.cluster.wire.offers import CARRIERS, CarrierName

__all__ = ["down", "up"]

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
@click.option(
    "--metrics-base-port",
    type=click.IntRange(1, 32767),
    help="port at which the first node serves metrics to Prometheus, the others follow  [none]",
)
@click.option("--tls", is_flag=True, help="make certificates, and have nodes and clients speak TLS only")
@pass_local
def up(
    settings: Settings,
    /,
    peer_transport: CarrierName | None,
    client_transport: CarrierName | None,
    metrics_base_port: int | None,
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
        metrics_base_port=metrics_base_port,
        tls=tls,
        tell=output.note,
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
        "nodes": [
            {"id": node.id, "address": node.address, "pid": node.pid}
            | ({"metrics": port} if (port := cluster.metrics_port(node)) else {})
            for node in cluster.nodes
        ],
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
    if (peer_transport or client_transport or metrics_base_port) and len(fresh) < len(cluster.nodes):
        output.note("a node that was running keeps its transports and ports until `ringmill cluster restart`")
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
