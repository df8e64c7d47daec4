"""The arguments of the gateway's door for HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from ringmill.client.cli.console.settings import bounded_span_s
from ringmill.client.cli.doors.door_jobs import checked_jobs_folder, door_jobs
from ringmill.client.cli.doors.door_place import host_and_port
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.http_admission import HttpAdmission, room_of_requests
from ringmill.client.gateway.http.http_door import HttpDoor, HttpOptions
from ringmill.client.gateway.http.request_checks import checked_origin
from ringmill.client.gateway.meters.door_meter import DoorMeter
from ringmill.client.gateway.page.page_routes import LivePage
from ringmill.client.gateway.protection.caller_limits import CallerLimits
from ringmill.client.gateway.protection.read_cache import ReadCache
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.adapters.tracing.programs_tracer import ProgramsTracer
from ringmill.cluster.errors import InvalidArgument

__all__ = ["http_admission", "http_door", "tls_of_door"]


def http_admission(callers: CallerLimits, most_requests: int, cache_ttl: str | None) -> HttpAdmission:
    """The limits of the door, and its cache.  Raises InvalidArgument."""
    cache = None if cache_ttl is None else ReadCache(bounded_span_s("--cache-ttl", cache_ttl, 0.001, 3600.0))
    return HttpAdmission(callers, room_of_requests(most_requests), cache=cache)


def http_door(
    place: str,
    tls: ssl.SSLContext | None,
    cors_origins: tuple[str, ...],
    admission: HttpAdmission,
    clients: ClientsByToken,
    jobs_folder: str | None,
    secrets: Iterable[str],
) -> HttpDoor:
    """No module of a caller reads `secrets`, files and folders.

    Raises InvalidArgument for a place that is not one, or is not to be listened on without TLS.
    """

    host, port = host_and_port("--http", place, 8080)
    origins = [checked_origin(each) for each in cors_origins]
    page = LivePage(SystemClock().wall)
    jobs = door_jobs(checked_jobs_folder(jobs_folder), secrets)
    meter = DoorMeter(SystemClock().monotonic)
    options = HttpOptions(
        host, port, tls, origins, admission, tracing=ProgramsTracer(), jobs=jobs, meter=meter
    )
    return HttpDoor(options, clients, OsEntropy(), [page])


def tls_of_door(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with this certificate; None when there is none.  Raises InvalidArgument."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidArgument("--http-cert and --http-key go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"--http-cert {cert} and --http-key {key} cannot be used: {error}") from error
    return context
