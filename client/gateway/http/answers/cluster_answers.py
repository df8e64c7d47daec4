"""The cluster itself: how its members are, who owns what, what is hot, how one key is held."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

from aiohttp import web

from ringmill.client.administration.status import ClusterStatus
from ringmill.client.gateway.http.bodies import json_answer
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.values import json_bytes
from ringmill.cluster.errors import Unavailable

__all__ = ["explain_key", "get_alive", "get_hot", "get_ready", "get_ring", "get_status", "locate_key"]

READY_S: Final = 0.7


async def get_status(call: HttpCall) -> web.StreamResponse:
    """The state of the cluster as all members that answer see it."""
    return json_answer((await call.client.status(**call.options("timeout"))).to_dict())


async def get_ring(call: HttpCall) -> web.StreamResponse:
    """What each member owns beside its fair share."""
    view = await call.client.ring.show(**call.options("timeout"))
    topology = view.topology
    return json_answer(
        {
            "cluster": topology.name,
            "epoch": topology.epoch,
            "n": topology.n,
            "partitions": len(topology.rows),
            "balance": view.balance,
            "members": [
                {"id": each.id, "address": each.address, "zone": each.zone, "weight": each.weight,
                 "membership": each.state, "state": view.states.get(each.id, "down"),
                 "owns": topology.owned_by(each.id)}
                for each in topology.members
            ],
            "sizes": [round(size) for size in view.sizes],
            "owners": [[owner.node for owner in row.owners] for row in topology.rows],
        }
    )  # fmt: skip


async def get_hot(call: HttpCall) -> web.StreamResponse:
    """The keys and partitions with the most requests at present.  Keys are told, values are not."""
    return json_answer((await call.client.hot(**call.options("timeout"))).to_dict())


async def locate_key(call: HttpCall) -> web.StreamResponse:
    """The partition and the owners of a key, and what each of them holds now."""
    found = await call.space.locate(call.key, **call.options("timeout"))
    return json_answer({**json_bytes("key", call.key), **found.to_dict()})


async def explain_key(call: HttpCall) -> web.StreamResponse:
    """Read a key, and tell who was asked and what each owner said.  It is a real read: owners that differ
    are repaired.  That of a register finishes a change that is under way, and takes no r."""
    found = await call.space.explain(call.key, **call.options("r", "timeout"))
    return json_answer({**json_bytes("key", call.key), **found.to_dict()})


async def get_alive(call: HttpCall) -> web.StreamResponse:
    """200 as long as the gateway runs."""
    return json_answer({"status": "ok"})


async def get_ready(call: HttpCall) -> web.StreamResponse:
    """200 when a node answers, and the cluster has a quorum of owners for every partition; else 503.

    The members that answer within 0.7 s are enough for 200: probes wait for a second or so, and one member
    that hangs hurts no request.
    """
    given: dict[str, float] = call.options("timeout")
    found: ClusterStatus | None = None
    if given.get("timeout", math.inf) > READY_S:
        with suppress(Unavailable):
            found = await call.client.status(timeout=READY_S)
    if found is None or found.health == "unavailable":
        found = await call.client.status(**given)
    document = {"status": found.health, "epoch": found.epoch, "reasons": list(found.reasons)}
    if found.health == "unavailable":
        raise HttpRefusal(503, "UNAVAILABLE", "partitions have no quorum", detail=document)
    return json_answer(document)
