"""Verbs that act on processes of this machine: they refuse --endpoints, which means nothing to them.

An address says where a node listens, not which process it is or who started it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import click

from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument

__all__ = ["pass_local"]

P = ParamSpec("P")
T = TypeVar("T")

_INSTEAD = {
    "up": "`ringmill cluster form --endpoints ...` makes running nodes a cluster",
    "chaos": "it disturbs only nodes that `ringmill cluster up` has started",
    "autoscale": "it starts and stops processes of a cluster that `ringmill cluster up` has started",
    "logs": "nodes that were started by hand write their logs where you told them to",
    "list": "`ringmill cluster status --endpoints ...` shows the cluster of these nodes",
}
_BY_HAND = "start and stop nodes with what started them; `ringmill cluster status --endpoints ...` shows them"


def pass_local(verb: Callable[Concatenate[Settings, P], T]) -> Callable[P, T]:
    """Pass the settings to a verb of a local cluster; it raises InvalidArgument when endpoints are given."""

    @functools.wraps(verb)
    def checked(settings: Settings, /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = click.get_current_context().info_name or ""
        if settings.endpoints:
            origin = settings.origins.get("endpoints", "--endpoints")
            instead = _INSTEAD.get(name, _BY_HAND)
            raise InvalidArgument(
                f"`cluster {name}` acts on local processes, but {origin} names {settings.endpoints[:80]}",
                hint=instead if "endpoints" in settings.given else f"name a local --cluster; {instead}",
            )
        return verb(settings, *args, **kwargs)

    return click.pass_obj(checked)
