"""`ringmill cluster form`: make one cluster of nodes that were started by other means.

The nodes already run (started by hand, systemd or in containers), and --members or --endpoints names them.
This command writes no file: the nodes keep the topology on their own disks.  Forming again changes nothing
and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import cluster_token, tls_of_settings
from ringmill.client.cli.console.pairs import parts_of
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_cluster import DEFAULT_REPLICAS
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.cluster.ring.topology import Topology

__all__ = ["form"]

FORM_TIMEOUT_S = 30.0
DEFAULT_PARTITIONS = 256


@click.command()
@click.option(
    "--members", metavar="ID=HOST:PORT,...", help="the nodes with their names, in place of --endpoints"
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 7),
    help="owners of each partition  [3, or fewer if there are fewer nodes]",
)
@click.option("--partitions", type=int, help="a power of two; cannot be changed later  [256]")
@click.pass_obj
def form(settings: Settings, members: str | None, replicas: int | None, partitions: int | None) -> None:
    """Form one cluster of running nodes; --cluster is its name.

    --members names them, and each has to be the node that it is said to be; --endpoints has addresses alone.
    Waits until all nodes serve, for at most --timeout  [30s].  Forming it again changes nothing.
    """
    from ringmill.client.local.cluster_forming import Effort, Shape
    from ringmill.client.local.cluster_forming import form as form_nodes

    settings.take_back()  # --cluster chooses no local cluster here
    names = _names(settings, members)
    addresses = list(names) or _addresses(settings)
    owners = replicas or min(DEFAULT_REPLICAS, len(addresses))
    ring = partitions or DEFAULT_PARTITIONS
    local_cluster.check_shape(settings.cluster, nodes=len(addresses), replicas=owners, partitions=ring)
    effort = Effort(addresses, settings.timeout or FORM_TIMEOUT_S, names=names)
    if (tls := tls_of_settings(settings)) is not None:
        from ringmill.client.dialling.node_links import open_link

        effort.dial = partial(open_link, tls=tls, token=cluster_token(settings))
    check = partial(_check_as_asked, settings, replicas, partitions)
    formed = asyncio.run(form_nodes(effort, Shape(settings.cluster, owners, ring, check=check)))
    _show(settings, formed.topology, formed.joined)


def _names(settings: Settings, members: str | None) -> dict[str, str]:
    """The names of --members, by address; empty without it.  Raises InvalidArgument."""
    if members is None:
        return {}
    if "endpoints" in settings.given:
        raise InvalidArgument("--members and --endpoints both name the nodes: give one of them")
    given = [one.strip() for one in members.split(",") if one.strip()]
    pairs = parts_of("--members", given, "ID=HOST:PORT")
    _check_addresses("--members", [address for _, address in pairs])
    return {address: name for name, address in pairs}


def _addresses(settings: Settings) -> list[str]:
    """Raises InvalidArgument unless each endpoint is host:port and appears once."""
    addresses = [one.strip() for one in settings.endpoints.split(",") if one.strip()]
    if not addresses:
        raise InvalidArgument(
            "--members or --endpoints is missing: it names the nodes",
            hint="ringmill cluster form --members n1=127.0.0.1:7101,n2=127.0.0.1:7102,n3=127.0.0.1:7103",
        )
    _check_addresses("--endpoints", addresses)
    return addresses


def _check_addresses(flag: str, addresses: Sequence[str]) -> None:
    """Raises InvalidArgument."""
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InvalidArgument(f"{flag}: {address[:80]!r} is not host:port")
        if addresses.count(address) > 1:
            raise InvalidArgument(f"{flag} names {address} twice")


def _check_as_asked(
    settings: Settings, replicas: int | None, partitions: int | None, topology: Topology
) -> None:
    """Raise InvalidArgument when the nodes have the document of a cluster with another name or other
    settings, formed before or by somebody else just now."""
    if "cluster" in settings.given and settings.cluster != topology.name:
        raise InvalidArgument(
            f"these nodes are cluster {topology.name}, not {settings.cluster}",
            hint="a cluster keeps the name that it was formed with; leave --cluster out",
        )
    there = {"replicas": (topology.n, replicas), "partitions": (topology.partitions, partitions)}
    for name, (is_now, wanted) in there.items():
        if wanted is not None and wanted != is_now:
            raise InvalidArgument(
                f"cluster {topology.name} was formed with {name} {is_now}, not {wanted}",
                hint="this cannot be changed after a cluster is formed; leave the flag out",
            )


def _show(settings: Settings, topology: Topology, joined: tuple[str, ...]) -> None:
    document: dict[str, Any] = {
        "cluster": topology.name,
        "id": topology.cluster,
        "epoch": topology.epoch,
        "already_formed": not joined,
        "joined": list(joined),
        "replicas": topology.n,
        "partitions": topology.partitions,
        "nodes": [{"id": one.id, "address": one.address, "zone": one.zone} for one in topology.members],
    }
    if settings.output == "json":
        output.show(settings, document, (), ())
        return
    nodes = ", ".join(f"{one.id} {one.address}" for one in topology.members)
    size = f"{len(topology.members)} nodes, {topology.partitions} partitions, N={topology.n}: {nodes}"
    if not joined:
        print(f"cluster {topology.name} is already formed: {size}")
    elif len(joined) < len(topology.members):
        print(f"cluster {topology.name} is complete; {' '.join(joined)} joined it: {size}")
    else:
        print(f"cluster {topology.name} is formed: {size}")
    output.next_command(settings, f"ringmill cluster status --endpoints {topology.members[0].address}")
