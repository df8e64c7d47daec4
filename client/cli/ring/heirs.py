"""Nodes that would come, as typed: ID or ID=ADDRESS, and in the place of another ID=NEW[=ADDRESS]."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ringmill.client.cli.console.pairs import parts_of
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.client.local.newcomers import next_node
from ringmill.cluster.errors import InvalidArgument

__all__ = ["heirs_of", "local_heir", "newcomers_of"]


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


def newcomers_of(
    settings: Settings, given: Iterable[str], beside: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
    """The address of each node that joins.

    Without one it is a node that would be started here, each on a port of its own, also `beside` those that
    take a member's place.  Raises InvalidArgument.
    """
    newcomers: dict[str, str] = {}
    fresh = [LocalNode(*each, "") for each in beside.values() if each[1].rpartition(":")[2].isdecimal()]
    for node, *address in parts_of("--add", given, "ID[=ADDRESS]", least=1):
        if not address:
            _check_here(settings, node, f"{node}=HOST:PORT")
            fresh.append(next_node(_with_these(settings, fresh), node))
        newcomers[node] = address[0] if address else fresh[-1].address
    return newcomers


def local_heir(settings: Settings, node: str, heir: str, beside: Iterable[LocalNode] = ()) -> LocalNode:
    """The node that would be started here in the place of `node`, in its zone; `beside` others.

    Raises InvalidArgument when the cluster is not one of this machine, or the folder of `heir` is in use.
    """
    _check_here(settings, heir, f"{node}={heir}=HOST:PORT")
    cluster = _with_these(settings, beside)
    zone = next((each.zone for each in cluster.nodes if each.id == node), "")
    return next_node(cluster, heir, zone)


def _check_here(settings: Settings, node: str, better: str) -> None:
    if settings.endpoints:
        raise InvalidArgument(
            f"{node} is on another machine, so say where it runs",
            hint=f"{better}, the address of a node that runs on an empty data folder",
        )


def _with_these(settings: Settings, beside: Iterable[LocalNode]) -> LocalCluster:
    """The cluster of this machine, with nodes that are not there yet.  Raises InvalidArgument."""
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    for each in beside:
        cluster = cluster.with_new(each)
    return cluster
