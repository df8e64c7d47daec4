"""`ringmill cluster join-token`: the token by which a node on a new host becomes a member."""

from __future__ import annotations

import asyncio
import os
import time

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings, bounded_span_s
from ringmill.cluster.errors import Conflict, InvalidArgument

__all__ = ["join_token"]

_SHORTEST_TTL_S = 60.0


@click.command("join-token")
@click.argument("node")
@click.option("--ttl", default="1h", help="how long it can be used, up to 7d  [1h]")
@click.pass_obj
def join_token(settings: Settings, node: str, ttl: str) -> None:
    """Print a token by which NODE may join this cluster, once: `ringmill node run --join TOKEN`.

    It is made with the cluster's token.  Whoever has it before NODE does becomes NODE.
    """
    from ringmill.cluster.ring.topology_entries import check_name
    from ringmill.cluster.wire.join_tokens import LONGEST_TTL_S

    check_name("node id", node)
    ttl_s = bounded_span_s("--ttl", ttl, _SHORTEST_TTL_S, LONGEST_TTL_S)
    text, seeds, expires_s = asyncio.run(_make_token(settings, node, ttl_s))
    if settings.output == "json":
        output.show(settings, {"node": node, "token": text, "expires": expires_s, "seeds": seeds}, (), ())
        return
    print(text)
    output.next_command(
        settings, f"ringmill node run --id {node} --seeds {','.join(seeds[:3])} --join TOKEN ..."
    )


async def _make_token(settings: Settings, node: str, ttl_s: float) -> tuple[str, list[str], int]:
    """The token, the addresses of members, and when it ends."""
    from ringmill.client.connection import cluster_token_of
    from ringmill.cluster.access.client_token import PREFIX
    from ringmill.cluster.access.cluster_secret import cluster_secret
    from ringmill.cluster.ids import NodeId
    from ringmill.cluster.wire.join_tokens import JOIN_NONCE_BYTES, JoinGrant, hint_for_member

    async with open_client(settings) as db:
        topology = (await db.ring.show()).topology
        token = cluster_token_of(db)
    if not token or token.startswith(PREFIX):
        raise InvalidArgument(
            "a join token is made with the cluster's own token: "
            f"{'that of a client was given' if token else 'none was given'}",
            hint="--token-file FILE, or RINGMILL_TOKEN",
        )
    if topology.has_member(NodeId(node)):
        raise Conflict(
            f"{node} is a member of cluster {topology.name}",
            hint=hint_for_member(node),
        )
    expires_s = int(time.time() + ttl_s)
    grant = JoinGrant(topology.cluster, NodeId(node), expires_s, os.urandom(JOIN_NONCE_BYTES))
    return (
        grant.token(cluster_secret(token).current).text,
        [member.address for member in topology.members],
        expires_s,
    )
