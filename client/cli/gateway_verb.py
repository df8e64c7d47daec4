"""`ringmill gateway`: doors for clients that speak HTTP or the protocol of Redis."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.connecting import endpoints_of, tls_of_settings
from ringmill.client.cli.frame.settings import Settings
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    import ssl

    from ringmill.client.gateway.clients_by_token import ClientsByToken
    from ringmill.client.gateway.gateway import Door

__all__ = ["gateway"]

_PLACE = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?([0-9]{1,5})", re.ASCII)


@click.command()
@click.option("--http", metavar="[HOST:]PORT", help="answer HTTP there; HOST is 127.0.0.1 unless it is given")
@click.option("--http-cert", type=click.Path(), metavar="PATH", help="certificate of the HTTP door: TLS")
@click.option("--http-key", type=click.Path(), metavar="PATH", help="key of --http-cert")
@click.option(
    "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
    help="let pages of this site ask, as https://example.org; * is all sites",
)  # fmt: skip
@click.pass_obj
def gateway(
    settings: Settings,
    http: str | None,
    http_cert: str | None,
    http_key: str | None,
    cors_origins: tuple[str, ...],
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
        return AsyncClient(endpoints, timeout_s, token, True, tls=tls, finds_token=False)

    clients = ClientsByToken(connect)
    doors: list[Door] = []
    if http is not None:
        doors.append(_http_door(http, _tls_of_door(http_cert, http_key), cors_origins, clients))
    if not doors:
        raise InvalidArgument("no door is to be opened", hint="`ringmill gateway --http 8080`")

    def tell(place: str) -> None:
        print(f"{place.partition(':')[0]}  {place}", flush=True)
        if place.startswith("http"):
            output.next_command(
                settings, f"curl {place}/readyz", f"curl {place}/v1/kv/default/hello -d world -X PUT"
            )

    asyncio.run(run_gateway(doors, clients, tell))


def _http_door(
    place: str, tls: ssl.SSLContext | None, cors_origins: tuple[str, ...], clients: ClientsByToken
) -> Door:
    from ringmill.client.gateway.http.http_door import HttpDoor, HttpOptions
    from ringmill.client.gateway.http.request_checks import checked_origin
    from ringmill.cluster.adapters.os_entropy import OsEntropy

    host, port = _host_and_port("--http", place)
    origins = [checked_origin(each) for each in cors_origins]
    return HttpDoor(HttpOptions(host, port, tls, origins), clients, OsEntropy())


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
