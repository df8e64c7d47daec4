"""A node that takes the place of another, as it is typed: ID=NEW or ID=NEW=ADDRESS."""

from __future__ import annotations

from collections.abc import Iterable

from ringmill.client.cli.console.pairs import parts_of
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalNode
from ringmill.client.local.newcomers import next_node
from ringmill.cluster.errors import InvalidArgument

__all__ = ["heirs_of", "local_heir"]


def heirs_of(settings: Settings, given: Iterable[str]) -> dict[str, tuple[str, str]]:
    """For each member the id and the address of the node that takes its place.

    Without an address it is a node that would be started here, each on a port of its own.  Raises
    InvalidArgument.
    """
    heirs: dict[str, tuple[str, str]] = {}
    fresh: list[LocalNode] = []
    for node, heir, *given_address in parts_of("--replace", given, "ID=NEW[=ADDRESS]"):
        if not given_address:
            fresh.append(local_heir(settings, node, heir, fresh))
        heirs[node] = heir, given_address[0] if given_address else fresh[-1].address
    return heirs


def local_heir(settings: Settings, node: str, heir: str, beside: Iterable[LocalNode] = ()) -> LocalNode:
    """The node that would be started here in the place of `node`, in its zone; `beside` others.

    Raises InvalidArgument when the cluster is not one of this machine, or the folder of `heir` is in use.
    """
    if settings.endpoints:
        raise InvalidArgument(
            f"{heir} is on another machine, so say where it runs",
            hint=f"{node}={heir}=HOST:PORT, the address of a node that runs on an empty data folder",
        )
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    zone = next((each.zone for each in cluster.nodes if each.id == node), "")
    for each in beside:
        cluster = cluster.with_new(each)
    return next_node(cluster, heir, zone)
