"""`ringmill gateway`: doors for clients that speak HTTP or the protocol of Redis."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import click

from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.connecting import endpoints_of, tls_of_settings
from ringmill.client.cli.frame.settings import Settings, bounded_span_s
from ringmill.client.routing.balancing import POLICIES, BalanceName
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    import ssl

    from ringmill.client.gateway.clients_by_token import ClientsByToken
    from ringmill.client.gateway.gateway import Door
    from ringmill.client.gateway.http.http_admission import HttpAdmission

__all__ = ["gateway"]

_MOST_IN_WINDOW: Final = 100_000
_NUMBER: Final = re.compile(r"[0-9]{1,7}", re.ASCII)
_PLACE: Final = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?([0-9]{1,5})", re.ASCII)


@click.command()
@click.option("--http", metavar="[HOST:]PORT", help="answer HTTP there; HOST is 127.0.0.1 unless it is given")
@click.option("--http-cert", type=click.Path(), metavar="PATH", help="certificate of the HTTP door: TLS")
@click.option("--http-key", type=click.Path(), metavar="PATH", help="key of --http-cert")
@click.option(
    "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
    help="let pages of this site ask, as https://example.org; * is all sites",
)  # fmt: skip
@click.option("--rate-limit", metavar="N", help="requests a second of one caller, and as many at once")
@click.option("--window-limit", metavar="N/TIME", help="requests of one caller in any such time, as 1000/1h")
@click.option(
    "--most-requests",
    type=click.IntRange(1, 100_000),
    default=256,
    show_default=True,
    metavar="N",
    help="requests under way at a time",
)
@click.option(
    "--cache-ttl", metavar="TIME", help="answer reads of keys from memory for this time  [no cache]"
)
@click.option(
    "--balance",
    type=click.Choice(POLICIES),
    default=POLICIES[0],
    show_default=True,
    help="which owner of a key is asked first",
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
) -> None:
    """Let clients in that speak another protocol, until Ctrl-C.

    A caller shows its own token, as Authorization: Bearer TOKEN.  Nodes decide what it may do.
    """
    from ringmill.client.connection import AsyncClient
    from ringmill.client.gateway.clients_by_token import ClientsByToken
    from ringmill.client.gateway.gateway import run_gateway
    from ringmill.cluster.limits import MAX_TIMEOUT_S

    endpoints, tls = endpoints_of(settings), tls_of_settings(settings)
    timeout_s = min(settings.timeout_s, MAX_TIMEOUT_S)

    def connect(token: str) -> AsyncClient:
        return AsyncClient(endpoints, timeout_s, token, True, tls=tls, finds_token=False, balance=balance)

    clients = ClientsByToken(connect)
    doors: list[Door] = []
    if http is not None:
        tls_of_door = _tls_of_door(http_cert, http_key)
        admission = _admission(rate_limit, window_limit, most_requests, cache_ttl)
        doors.append(_http_door(http, tls_of_door, cors_origins, admission, clients))
    if not doors:
        raise InvalidArgument("no door is to be opened", hint="`ringmill gateway --http 8080`")

    def tell(place: str) -> None:
        scheme = place.partition(":")[0]
        print(f"{scheme}  {place}", flush=True)
        if scheme.startswith("http"):
            output.note(f"  try:  curl {place}/v1/kv/default/hello -X PUT -d world")

    asyncio.run(run_gateway(doors, clients, tell))


def _admission(
    rate_limit: str | None, window_limit: str | None, most_requests: int, cache_ttl: str | None
) -> HttpAdmission:
    """The limits of callers, and the cache.  Raises InvalidArgument."""
    from ringmill.client.gateway.http.http_admission import HttpAdmission
    from ringmill.client.gateway.protection.caller_limits import CallerLimits, Room, WindowLimit
    from ringmill.client.gateway.protection.read_cache import ReadCache

    rate_s = None if rate_limit is None else _rate_s(rate_limit)
    window = None
    if window_limit is not None:
        number, slash, span = window_limit.partition("/")
        if not slash or not _NUMBER.fullmatch(number) or not 1 <= int(number) <= _MOST_IN_WINDOW:
            raise InvalidArgument(
                f"--window-limit {window_limit[:40]!r} is not N/TIME with N from 1 to {_MOST_IN_WINDOW:,}",
                hint="--window-limit 1000/1h, for example",
            )
        window = WindowLimit(int(number), bounded_span_s("--window-limit", span, 0.1, 7 * 86400.0))
    cache = None if cache_ttl is None else ReadCache(bounded_span_s("--cache-ttl", cache_ttl, 0.001, 3600.0))
    return HttpAdmission(CallerLimits(rate_s, window), Room(most_requests), cache=cache)


def _rate_s(text: str) -> float:
    """Requests a second.  Raises InvalidArgument."""
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 1_000_000:
        raise InvalidArgument(
            f"--rate-limit {text[:40]!r} is not a number from 1 to 1,000,000 a second",
            hint="--rate-limit 100, for example",
        )
    return float(text)


def _http_door(
    place: str,
    tls: ssl.SSLContext | None,
    cors_origins: tuple[str, ...],
    admission: HttpAdmission,
    clients: ClientsByToken,
) -> Door:
    """Raises InvalidArgument for a place that is not one, or is not to be listened on without TLS."""
    from ringmill.client.gateway.http.http_door import HttpDoor, HttpOptions
    from ringmill.client.gateway.http.request_checks import checked_origin
    from ringmill.client.gateway.page.page_routes import LivePage
    from ringmill.cluster.adapters.os_entropy import OsEntropy
    from ringmill.cluster.adapters.system_clock import SystemClock

    host, port = _host_and_port("--http", place)
    origins = [checked_origin(each) for each in cors_origins]
    page = LivePage(SystemClock().wall)
    return HttpDoor(HttpOptions(host, port, tls, origins, admission), clients, OsEntropy(), [page])


def _host_and_port(flag: str, place: str) -> tuple[str, int]:
    """Raises InvalidArgument that names the flag."""
    found = _PLACE.fullmatch(place)
    if found is None or int(found[2]) > 65535:
        raise InvalidArgument(f"{flag} {place[:60]!r} is not [HOST:]PORT", hint=f"{flag} 8080, for example")
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])


def _tls_of_door(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with this certificate; None when there is none.  Raises InvalidArgument."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidArgument("--http-cert and --http-key go together")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"--http-cert {cert} and --http-key {key} cannot be used: {error}") from error
    return context
