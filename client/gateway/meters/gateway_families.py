"""All metrics of a gateway.  A new one is a line here, and one in docs/monitoring.md."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.http_door import HttpDoor
from ringmill.client.gateway.meters.door_meter import DoorMeter
from ringmill.client.gateway.redis.redis_door import RedisDoor
from ringmill.cluster.meters.family import Family, Sample, by_label, counter, gauge

__all__ = ["families_of_gateway"]


def families_of_gateway(
    http: HttpDoor | None, redis: RedisDoor | None, clients: ClientsByToken, version: str
) -> Sequence[Family]:
    """What its doors count, as it is now."""
    build = {"version": version, "python": platform.python_version()}
    meters: dict[str, DoorMeter] = {}
    connections: dict[str, float] = {}
    if http is not None:
        meters["http"], connections["http"] = http.meter, float(http.open_connections)
    if redis is not None:
        meters["redis"], connections["redis"] = redis.meter, float(len(redis.connections()))
    return [
        Family("gateway_build", "info", "What runs here", [Sample(1.0, build)], tuple(build)),
        *_of_doors(meters),
        by_label("gauge", "gateway_connections", "Open connections of callers", "door", connections),
        gauge(
            "gateway_clients", "Clients of the cluster that are open, one for each token", clients.open_count
        ),
        *_of_http(http),
        *_of_redis(redis),
    ]


def _of_doors(meters: dict[str, DoorMeter]) -> Iterator[Family]:
    answers = [
        Sample(float(count), {"door": door, "request": asked, "status": str(ended)})
        for door, meter in meters.items()
        for (asked, ended), count in list(meter.answers.items())
    ]
    labels = ("door", "request", "status")
    yield Family(
        "gateway_requests_total", "counter", "Requests of callers that were answered", answers, labels
    )
    yield Family(
        "gateway_request_duration_seconds",
        "histogram",
        "From when a request was begun to when its answer was made",
        [Sample(meter.times, {"door": door}) for door, meter in meters.items()],
        ("door",),
    )
    refusals = [
        Sample(float(count), {"door": door, "reason": why})
        for door, meter in meters.items()
        for why, count in meter.refused.items()
    ]
    about = "What the gateway itself refused: above a caller's rate, for want of room, or of a connection"
    yield Family("gateway_refusals_total", "counter", about, refusals, ("door", "reason"))


def _of_http(door: HttpDoor | None) -> Iterator[Family]:
    rooms = {} if door is None else door.admission.rooms
    yield by_label(
        "gauge", "gateway_places_taken", "Places of the HTTP door that are taken", "place",
        {place: float(room.taken) for place, room in rooms.items()},
    )  # fmt: skip
    yield by_label(
        "gauge", "gateway_places", "Places that the HTTP door has", "place",
        {place: float(room.most) for place, room in rooms.items()},
    )  # fmt: skip
    cache = None if door is None else door.admission.cache
    reads = {} if cache is None else {how: float(count) for how, count in cache.reads.items()}
    yield by_label(
        "counter", "gateway_cache_reads_total", "Reads of keys with --cache-ttl, by what answered them",
        "from", reads,
    )  # fmt: skip


def _of_redis(door: RedisDoor | None) -> Iterator[Family]:
    held = (
        {} if door is None else {"now": float(door.held_bytes), "limit": float(door.limits.most_held_bytes)}
    )
    about = "Bytes of commands and answers at the Redis door: now, the limit"
    yield by_label("gauge", "gateway_redis_held_bytes", about, "state", held)
    if door is None:
        return
    expiry = door.expiry
    yield counter(
        "gateway_expired_keys_total", "Expired keys of Redis that were removed or written over",
        expiry.expired_keys,
    )  # fmt: skip
    yield counter("gateway_swept_keys_total", "Keys of Redis that sweeps have looked at", expiry.swept_keys)
    yield counter(
        "gateway_sweep_failures_total", "What sweeps could not read or remove, and sweeps that failed",
        expiry.sweep_failures,
    )  # fmt: skip
    yield gauge(
        "gateway_swept_databases", "Databases of Redis that this gateway sweeps now", expiry.swept_databases
    )
