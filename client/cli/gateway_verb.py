"""`ringmill gateway`: doors for clients that speak HTTP or the protocol of Redis."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import endpoints_of, open_client, secrets_of, tls_of_settings
from ringmill.client.cli.console.settings import Settings
from ringmill.client.routing.balancing import POLICIES, BalanceName
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.wire.offers import CARRIERS, CarrierName

if TYPE_CHECKING:
    from ringmill.client.gateway.clients_by_token import ClientsByToken
    from ringmill.client.gateway.gateway import Door

__all__ = ["gateway"]


@click.command()
@click.option("--http", metavar="[HOST:]PORT", help="answer HTTP there; HOST is 127.0.0.1 unless it is given")
@click.option("--http-cert", type=click.Path(), metavar="PATH", help="certificate of the HTTP door: TLS")
@click.option("--http-key", type=click.Path(), metavar="PATH", help="key of --http-cert")
@click.option(
    "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
    help="let pages of this site ask, as https://example.org; * is all sites",
)  # fmt: skip
@click.option(
    "--rate-limit", metavar="N", help="requests a second of one caller at both doors, and as many at once"
)
@click.option(
    "--window-limit",
    metavar="N/TIME",
    help="requests of one caller at both doors in any such time, as 1000/1h",
)
@click.option(
    "--most-requests",
    type=click.IntRange(1, 100_000),
    default=256,
    show_default=True,
    metavar="N",
    help="requests of HTTP under way at a time",
)
@click.option(
    "--cache-ttl", metavar="TIME", help="answer reads of keys from memory for this time  [no cache]"
)
@click.option(
    "--jobs-folder", type=click.Path(), metavar="PATH",
    help="folder that all nodes see, for inputs that come over HTTP and outputs that nobody names",
)  # fmt: skip
@click.option("--redis", metavar="[HOST:]PORT", help="let clients of Redis in there; port 0 is a free one")
@click.option(
    "--redis-db", "redis_dbs", multiple=True, metavar="NUMBER=NAME",
    help="database NUMBER is keyspace NAME  [redisNUMBER]",
)  # fmt: skip
@click.option(
    "--redis-sweep",
    type=click.IntRange(0, 10_000),
    default=200,
    show_default=True,
    metavar="N",
    help="look at this many keys of a database a second at most, to remove expired ones; 0 for none",
)
@click.option(
    "--balance",
    type=click.Choice(POLICIES),
    default=POLICIES[0],
    show_default=True,
    help="which owner of a key is asked first",
)
@click.option(
    "--traces",
    metavar="PLACE",
    help="where traces go: file:PATH, or the URL of a collector of OTLP",
)
@click.option(
    "--trace-one-in",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="of how many requests that come without a trace one is traced; 0 for none",
)
@click.option(
    "--metrics", metavar="[HOST:]PORT", help="serve metrics to Prometheus there; with --http-cert by TLS"
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="form of the log on stderr: lines for people, or an object on each line for programs",
)
@click.option(
    "--transport",
    type=click.Choice(CARRIERS),
    default=CARRIERS[0],
    show_default=True,
    help="what carries requests to nodes that offer it",
)
@click.pass_obj
def gateway(
    settings: Settings,
    /,
    balance: BalanceName,
    http: str | None,
    http_cert: str | None,
    http_key: str | None,
    cors_origins: tuple[str, ...],
    rate_limit: str | None,
    window_limit: str | None,
    most_requests: int,
    cache_ttl: str | None,
    jobs_folder: str | None,
    redis: str | None,
    redis_dbs: tuple[str, ...],
    redis_sweep: int,
    traces: str | None,
    trace_one_in: int,
    metrics: str | None,
    log_format: str,
    transport: CarrierName,
) -> None:
    """Let clients in that speak another protocol, until Ctrl-C.

    A caller shows its own token: as Authorization: Bearer TOKEN over HTTP, by AUTH as a client of Redis.
    Nodes decide what it may do.
    """
    import uvloop

    from ringmill.cluster.adapters.serving_process import spare_the_collector

    _prepare_process()
    from ringmill.client.cli.doors.door_flags import caller_limits, check_flags
    from ringmill.client.cli.doors.http_arguments import http_admission, http_door, tls_of_door
    from ringmill.client.cli.doors.redis_arguments import redis_door
    from ringmill.client.cli.doors.trace_arguments import recording_gateway
    from ringmill.client.gateway.gateway import run_gateway
    from ringmill.client.gateway.redis.expiry.sweeper import SweepOptions

    check_flags(click.get_current_context())
    if http is None and redis is None:
        raise InvalidArgument("no door is to be opened", hint="`ringmill gateway --http 8080 --redis 6379`")
    callers = caller_limits(rate_limit, window_limit)
    clients = _clients(settings, transport, balance)
    doors: list[Door] = []
    at_http = at_redis = None
    tls_of_http = tls_of_door(http_cert, http_key)
    if http is not None:
        secrets = [http_key or "", *secrets_of(settings)]
        admission = http_admission(callers, most_requests, cache_ttl)
        at_http = http_door(http, tls_of_http, cors_origins, admission, clients, jobs_folder, secrets)
        doors.append(at_http)
    if redis is not None:
        sweeps = SweepOptions(partial(open_client, settings, session=True), redis_sweep)
        at_redis = redis_door(redis, redis_dbs, clients, callers, _timeout_s(settings), sweeps)
        doors.append(at_redis)
    if metrics is not None:
        from ringmill.client.cli.doors.metrics_door import MetricsDoor
        from ringmill.client.gateway.meters.gateway_families import families_of_gateway
        from ringmill.cluster.adapters.own_version import own_version

        families = partial(families_of_gateway, at_http, at_redis, clients, own_version())
        doors.append(MetricsDoor(metrics, tls_of_http, clients, families, callers))
    _log_in(log_format)
    spare_the_collector()
    with recording_gateway(traces, trace_one_in):
        uvloop.run(run_gateway(doors, clients, partial(_tell, log_format)))


def _timeout_s(settings: Settings) -> float:
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    return min(settings.timeout_s, MAX_TIMEOUT_S)


def _clients(settings: Settings, transport: CarrierName, balance: BalanceName) -> ClientsByToken:
    """Clients of the cluster that show the tokens of callers, and never the gateway's own."""
    from ringmill.client.connection import AsyncClient
    from ringmill.client.gateway.clients_by_token import ClientsByToken

    endpoints, tls, timeout_s = endpoints_of(settings), tls_of_settings(settings), _timeout_s(settings)

    def connect(token: str) -> AsyncClient:
        given = (endpoints, timeout_s, token, True, transport, tls)
        return AsyncClient(*given, finds_token=False, balance=balance)

    return ClientsByToken(connect)


def _tell(log_format: str, place: str) -> None:
    """Say where a door is, on stdout, and how it is used, to people."""
    kind = "metrics" if place.endswith("/metrics") else place.partition(":")[0]
    print(f"{kind}  {place}", flush=True)
    if kind.startswith("http") and log_format != "json":
        output.note(f"  try:  curl {place}/v1/kv/default/hello -X PUT -d world")


def _prepare_process() -> None:
    """Raise the limit of descriptors, as each of 256 tokens may connect to all nodes, and set up gRPC."""
    from ringmill.cluster.adapters.processes.descriptors import raise_limit
    from ringmill.cluster.adapters.serving_process import prepare_grpc

    raise_limit()
    prepare_grpc()


def _log_in(form: str) -> None:
    """Log to stderr from now on.  What was refused before was told as text."""
    import logging

    from ringmill.cluster.logs.log_events import log_as_json
    from ringmill.cluster.logs.log_lines import log_by

    log_by(logging.StreamHandler())
    if form == "json":
        log_as_json("gateway")
