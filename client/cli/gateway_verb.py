"""`ringmill gateway`: doors for clients that speak HTTP or the protocol of Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.connecting import endpoints_of, tls_of_settings
from ringmill.client.cli.frame.settings import Settings

if TYPE_CHECKING:
    from ringmill.client.gateway.gateway import Door

__all__ = ["gateway"]


@click.command()
@click.option("--redis", metavar="[HOST:]PORT", help="let clients of Redis in there; port 0 is a free one")
@click.option(
    "--redis-db", "redis_dbs", multiple=True, metavar="NUMBER=NAME",
    help="database NUMBER is keyspace NAME  [redisNUMBER]",
)  # fmt: skip
@click.pass_obj
def gateway(settings: Settings, redis: str | None, redis_dbs: tuple[str, ...]) -> None:
    """Let clients in that speak another protocol, until Ctrl-C."""
    from ringmill.client.connection import AsyncClient
    from ringmill.client.gateway.clients_by_token import ClientsByToken
    from ringmill.client.gateway.gateway import run_gateway
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    endpoints, tls = endpoints_of(settings), tls_of_settings(settings)
    timeout_s = min(settings.timeout_s, MAX_TIMEOUT_S)

    def connect(token: str) -> AsyncClient:
        return AsyncClient(endpoints, timeout_s, token, True, tls=tls, finds_token=False)

    clients = ClientsByToken(connect)
    doors: list[Door] = []
    if redis is not None:
        from ringmill.client.cli.redis_arguments import redis_door

        doors.append(redis_door(redis, redis_dbs, clients, timeout_s))
    asyncio.run(run_gateway(doors, clients, output.note))
