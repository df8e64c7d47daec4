"""What a gateway counts at both doors, and who may read it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families as parsed_text

from ringmill.client.cli.doors.http_arguments import tls_of_door
from ringmill.client.cli.doors.metrics_door import MetricsDoor
from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.http_admission import HttpAdmission
from ringmill.client.gateway.http.http_door import HttpDoor
from ringmill.client.gateway.http.streams import LINES_TYPE, OpenStream
from ringmill.client.gateway.http.table.http_route import HttpRoute
from ringmill.client.gateway.meters.door_meter import DoorMeter
from ringmill.client.gateway.meters.gateway_families import families_of_gateway
from ringmill.client.gateway.protection.caller_limits import CallerLimits, SharedRoom, WindowLimit
from ringmill.client.gateway.protection.read_cache import ReadCache
from ringmill.client.gateway.redis.redis_door import RedisDoor
from ringmill.client.gateway.redis.serving.begun_commands import BegunCommand, ConnectionOfCommand
from ringmill.client.gateway.redis.serving.command_meter import CommandMeter
from ringmill.client.local.authority.authority import Authority
from ringmill.cluster.errors import InvalidArgument, PermissionDenied
from ringmill.cluster.meters.family import PREFIX, Family
from ringmill.cluster.meters.histogram import Histogram
from tests.client.gateway.http_world import http_door
from tests.client.gateway.redis.redis_world import Registers, redis_door
from tests.client.one_node import SLOW, OneNode

ROOT = Path(__file__).resolve().parents[4]
Node = tuple[OneNode, str]
Figures = dict[tuple[str, ...], float]


def families(http: HttpDoor | None, redis: RedisDoor | None) -> Sequence[Family]:
    clients = ClientsByToken(lambda token: cast("AsyncClient", None))
    return families_of_gateway(http, redis, clients, "1.0")


def figures(name: str, http: HttpDoor | None = None, redis: RedisDoor | None = None) -> Figures:
    """The values of a metric by its labels' values; of a histogram how many it counts."""
    (found,) = (each for each in families(http, redis) if each.name == name)
    return {
        tuple(each.labels.values()): float(
            each.value.count if isinstance(each.value, Histogram) else each.value
        )
        for each in found.samples
    }


async def test_requests_over_http_count_by_route_and_status_and_never_by_what_a_caller_chose(
    node: Node,
) -> None:
    async with http_door(node[1]) as caller:
        await caller.ask("PUT", "/v1/kv/default/secret", data=b"v")
        for path in ("/v1/kv/default/secret", "/v1/kv/default/none", "/nothing/secret", "/v1/kv/x/k?r=many"):
            await caller.ask("GET", path)
        await caller.ask("PATCH", "/healthz")
        counted = figures("gateway_requests_total", caller.door)
        assert counted == {
            ("http", "putKey", "200"): 1,
            ("http", "getKey", "200"): 1,
            ("http", "getKey", "404"): 1,
            ("http", "getKey", "400"): 1,
            ("http", "unknown", "404"): 1,
            ("http", "unknown", "405"): 1,
        }
        assert figures("gateway_request_duration_seconds", caller.door) == {("http",): 6}
        assert figures("gateway_connections", caller.door) == {("http",): 1}
        assert "secret" not in str(families(caller.door, None))


async def test_what_a_gateway_refuses_over_http_counts_by_the_reason_and_who_leaves_is_gone(
    node: Node,
) -> None:
    callers = CallerLimits(window=WindowLimit(3, 3600.0))
    admission = HttpAdmission(callers, requests=SharedRoom(1, 1))
    before = node[0].waiting
    async with http_door(node[1], admission=admission, most_connections=2) as caller:
        waiting = asyncio.create_task(caller.ask("GET", f"/v1/kv/default/{SLOW}"))
        while node[0].waiting == before:  # noqa: ASYNC110 - the node is in another thread
            await asyncio.sleep(0.01)
        assert figures("gateway_places_taken", caller.door)["requests",] == 1
        assert [(await caller.ask("GET", "/v1/kv/default/k")).status for _ in range(3)] == [503, 503, 429]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(caller.url.rpartition(":")[2]))
        assert (await reader.read(12)) == b"HTTP/1.1 503"
        writer.close()
        waiting.cancel()
        refused = figures("gateway_refusals_total", caller.door)
        assert refused == {("http", "rate"): 1, ("http", "room"): 2, ("http", "connections"): 1}
        async with asyncio.timeout(10):
            while ("http", "getKey", "gone") not in figures("gateway_requests_total", caller.door):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class Streaming:
    """A route of which a stream comes, that ends."""

    def routes(self) -> Sequence[HttpRoute]:
        """As `Pages.routes`."""
        return [HttpRoute("GET", "/stream", "watchAll", "t", "t", self.watch, needs_cluster=False)]

    async def watch(self, call: HttpCall) -> web.StreamResponse:
        stream = OpenStream(call, LINES_TYPE)
        await stream.begin()
        await stream.write(b"first\n")
        return await stream.end()

    async def aclose(self) -> None:
        """As `Pages.aclose`."""


async def test_a_stream_counts_and_its_time_does_not(node: Node) -> None:
    async with http_door(node[1], [Streaming()]) as caller:
        assert (await caller.ask("GET", "/stream")).body == b"first\n"
        await caller.ask("GET", "/healthz")
        assert figures("gateway_requests_total", caller.door)["http", "watchAll", "200"] == 1
        assert figures("gateway_request_duration_seconds", caller.door) == {("http",): 1}


async def test_reads_count_by_what_answered_them(node: Node) -> None:
    cache = ReadCache(60.0)
    async with http_door(node[1], admission=HttpAdmission(cache=cache)) as caller:
        await caller.ask("PUT", "/v1/kv/default/cached", data=b"v")
        for _ in range(3):
            await caller.ask("GET", "/v1/kv/default/cached")
        counted = figures("gateway_cache_reads_total", caller.door)
        assert counted == {("memory",): 2, ("other_read",): 0, ("own_read",): 1}
        assert figures("gateway_places", caller.door)["requests",] == 256


async def test_commands_of_redis_count_by_name_and_how_they_end() -> None:
    callers = CallerLimits(window=WindowLimit(6, 3600.0))
    async with redis_door(Registers(), callers=callers, most_connections=1) as (door, connect):
        caller = await connect()
        for words in (b"SET k v", b"GET k", b"PING", b"FLY high", b"LPUSH k x", b"MULTI", b"INCR k", b"EXEC"):
            await caller.ask(*words.split())
        caller.say(b"GET", b"k", times=4)
        await connect()
        told = [await caller.heard() for _ in range(7)][-1]
        assert told.startswith(b"-RATELIMITED")
        counted = figures("gateway_requests_total", redis=door)
        assert {names[1:]: count for names, count in counted.items()} == {
            ("SET", "ok"): 1,
            ("GET", "ok"): 3,
            ("GET", "RATELIMITED"): 2,
            ("PING", "ok"): 1,
            ("unknown", "ERR"): 1,
            ("LPUSH", "WRONGTYPE"): 1,
            ("MULTI", "ok"): 1,
            ("INCR", "queued"): 1,
            ("EXEC", "ok"): 1,
        }
        assert figures("gateway_request_duration_seconds", redis=door) == {("redis",): 6}
        refused = figures("gateway_refusals_total", redis=door)
        assert refused == {("redis", "rate"): 2, ("redis", "room"): 0, ("redis", "connections"): 1}
        assert figures("gateway_connections", redis=door) == {("redis",): 1}


async def test_what_is_no_command_is_unknown_and_not_the_command_before_it() -> None:
    async with redis_door(Registers()) as (door, connect):
        caller = await connect()
        await caller.ask(b"GET", b"a")
        caller.writer.write(b"*x\r\n")
        assert (await caller.heard()).startswith(b"-ERR")
        counted = figures("gateway_requests_total", redis=door)
        assert counted == {("redis", "GET", "ok"): 1, ("redis", "unknown", "ERR"): 1}


async def test_a_command_whose_caller_has_left_is_gone() -> None:
    meter = DoorMeter()
    connection = SimpleNamespace(
        metered=CommandMeter(meter), version=2, reply_mode=SimpleNamespace(is_silent=False), is_gone=True,
        note_answered=lambda one: None,
    )  # fmt: skip
    BegunCommand(cast("ConnectionOfCommand", connection), 1)(None)
    assert meter.answers == {("unknown", "gone"): 1}


async def test_the_page_has_each_metric_as_a_gateway_serves_it(node: Node) -> None:
    rows = re.findall(
        r"^\| `(ringmill_gateway_\w+)` \| (\w+) \| (.*?) \| (.*) \|$",
        (ROOT / "docs/monitoring.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    told = {
        name: (kind, meaning, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, meaning in rows
    }
    admission = HttpAdmission(cache=ReadCache(1.0))
    async with http_door(node[1], admission=admission) as caller, redis_door(Registers()) as (redis, _):
        served = {
            PREFIX + each.name + ("_info" if each.kind == "info" else ""): (
                "gauge" if each.kind == "info" else each.kind, each.help, set(each.labels),
            )
            for each in families(caller.door, redis)
        }  # fmt: skip
    assert served == told


class Known:
    """A client of the cluster whose nodes know one token."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.registers = SimpleNamespace(get=self._get)

    async def _get(self, key: bytes) -> None:
        self._check()

    def _check(self) -> None:
        if self.token != "known":
            raise PermissionDenied("no node of the cluster knows this token")

    async def __aenter__(self) -> Known:
        self._check()
        return self

    async def aclose(self) -> None:
        """Nothing is open."""


def tls_of(folder: Path) -> tuple[ssl.SSLContext | None, ssl.SSLContext]:
    """Of a door, and of who asks it."""
    authority = Authority(str(folder / "ca"))
    authority.init("doors")
    authority.issue("n1", ["127.0.0.1"])
    paths = authority.files
    ours = tls_of_door(paths.certificate("n1"), paths.key("n1"))
    return ours, ssl.create_default_context(cafile=str(paths.bundle))


@pytest.mark.parametrize("with_tls", [False, True])
async def test_who_reads_the_metrics_beyond_this_machine_shows_a_token(
    tmp_path: Path, with_tls: bool
) -> None:
    ours, theirs = tls_of(tmp_path) if with_tls else (None, None)
    clients = ClientsByToken(lambda token: cast("AsyncClient", Known(token)))
    door = MetricsDoor(
        "0", ours, clients, lambda: families_of_gateway(None, None, clients, "1.0"), CallerLimits()
    )
    url = await door.open()
    expected = {"": 401 if with_tls else 200, "guessed": 401 if with_tls else 200, "known": 200}
    async with aiohttp.ClientSession() as session:
        for token, status in expected.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.get(url, headers=headers, ssl=theirs or True) as answer:
                assert answer.status == status
                text = await answer.text()
    parsed = {each.name for each in parsed_text(text)}
    assert {"ringmill_gateway_clients", "process_cpu_seconds"} <= parsed
    await door.close(1.0)
    await clients.aclose()


def test_metrics_for_other_machines_need_a_certificate() -> None:
    clients = ClientsByToken(lambda token: cast("AsyncClient", Known(token)))
    with pytest.raises(InvalidArgument, match=r"--metrics 0\.0\.0\.0 is not an address of loopback"):
        MetricsDoor("0.0.0.0:9120", None, clients, list, CallerLimits())


class Silent(Known):
    """One whose nodes say nothing to who tries a token."""

    async def __aenter__(self) -> Silent:
        await asyncio.sleep(3600)
        return self


async def test_the_metrics_port_counts_in_the_limits_of_the_other_doors(tmp_path: Path) -> None:
    ours, theirs = tls_of(tmp_path)
    clients = ClientsByToken(lambda token: cast("AsyncClient", Known(token)))
    callers = CallerLimits(window=WindowLimit(2, 3600.0))
    door = MetricsDoor("0", ours, clients, lambda: families_of_gateway(None, None, clients, "1.0"), callers)
    url = await door.open()
    async with aiohttp.ClientSession() as session:

        async def ask(token: str) -> tuple[int, bool]:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(url, headers=headers, ssl=theirs) as answer:
                return answer.status, "Retry-After" in answer.headers

        made_up = [await ask(f"guess{number}") for number in range(3)]
        assert made_up == [(401, False), (401, False), (429, True)], "an address has one allowance"
        async with clients.lend("known"):
            assert [await ask("known") for _ in range(3)] == [(200, False), (200, False), (429, True)]
    await door.close(1.0)
    await clients.aclose()


async def test_tries_of_tokens_by_the_metrics_port_are_of_their_address(tmp_path: Path) -> None:
    ours, theirs = tls_of(tmp_path)
    clients = ClientsByToken(lambda token: cast("AsyncClient", Silent(token)))
    door = MetricsDoor("0", ours, clients, list, CallerLimits())
    url = await door.open()
    room = clients._strangers.room
    by_http = [asyncio.create_task(clients.client(f"h{number}", "address 127.0.0.1")) for number in range(12)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> None:
            headers = {"Authorization": f"Bearer m{number}"}
            async with session.get(url, headers=headers, ssl=theirs):
                raise AssertionError("nodes have said nothing")

        by_metrics = [asyncio.create_task(ask(number)) for number in range(12)]
        async with asyncio.timeout(10):
            while clients._strangers.waiting < 12:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert room.taken == 12, "one address has 12 of the 16 places, by whatever door"
        for number in range(12, 30):
            by_metrics.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.02)
            by_metrics[-1].cancel()
        for each in by_metrics:
            each.cancel()
        await asyncio.wait(by_metrics)
        assert len(clients._opening) <= 12 + 16, "who hangs up has a place until the try has ended"
    for opening in by_http:
        opening.cancel()
    await door.close(0.0)
    await clients.aclose()
