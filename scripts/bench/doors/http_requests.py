"""What a request over HTTP costs the gateway: microseconds of processor time, beside a bare aiohttp handler.

    python scripts/bench/doors/http_requests.py [--quick] [--json PATH]

The same load goes to each contestant in turns: connections that stay open, one request after the other on
each.  The bare handler answers the same number of bytes from memory, by the server that the gateway is made
of; the difference is what the gateway adds: the route, the checks, the client, and one more hop.  The
processor time is that of the server's process, from psutil, divided by the requests.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from doors.local_gateway import LocalServer, http_gateway, http_server
from local_cluster import BenchCluster, free_ports
from report import Report, arguments, percentile
from ringmill.client.bench.processor_time import used_s

CONNECTIONS = 32
REQUESTS = 6_000
ROUNDS = 3
VALUE = b"v" * 100
BARE = """
import asyncio, sys
from aiohttp import web

async def answer(request):
    await request.read()
    return web.Response(body=b"v" * 100)

async def main():
    server = web.Server(answer, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", int(sys.argv[1]))
    await listening.serve_forever()

asyncio.run(main())
"""


def bare_handler() -> AbstractContextManager[LocalServer]:
    """Made when the ports of all others are taken."""
    port = str(free_ports(1))
    return http_server([sys.executable, "-c", BARE, port], port, "/")


def request_of(method: str, key: str) -> bytes:
    body = VALUE if method == "PUT" else b""
    head = f"{method} /v1/kv/default/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask_all(port: int, requests: Sequence[bytes]) -> list[float]:
    """Milliseconds of each request, over a number of connections."""
    waiting, taken = list(reversed(requests)), []

    async def ask_on_one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            request = waiting.pop()
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {head[:60]!r}")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            taken.append((time.perf_counter() - begun) * 1000)
        writer.close()

    await asyncio.gather(*(ask_on_one() for _ in range(CONNECTIONS)))
    return taken


def measured(server: LocalServer, requests: Sequence[bytes]) -> tuple[float, float, list[float]]:
    """Processor microseconds of a request, requests a second, and milliseconds of each."""
    before, begun = used_s(server.pid), time.perf_counter()
    taken = asyncio.run(ask_all(server.port, requests))
    wall_s = time.perf_counter() - begun
    return (used_s(server.pid) - before) / len(requests) * 1e6, len(requests) / wall_s, taken


def main() -> None:
    given = arguments("http_requests", "processor time of a request over HTTP").parse_args()
    requests = REQUESTS // 10 if given.quick else REQUESTS
    settings = {"nodes": 3, "connections": CONNECTIONS, "requests": requests, "rounds": ROUNDS}
    report = Report("http_requests", {**settings, "value_bytes": len(VALUE)}, given.json, ("aiohttp",))
    puts = [request_of("PUT", f"k{at}") for at in range(requests)]
    gets = [request_of("GET", f"k{at}") for at in range(requests)]
    with (
        BenchCluster(nodes=3) as cluster,
        http_gateway(cluster) as plain,
        http_gateway(cluster, "--cache-ttl", "60s") as cached,
        bare_handler() as bare,
    ):
        asyncio.run(ask_all(plain.port, puts))
        asyncio.run(ask_all(cached.port, gets))
        cases = {
            "bare handler, get": (bare, gets),
            "gateway, get": (plain, gets),
            "gateway, get from its cache": (cached, gets),
            "bare handler, put": (bare, puts),
            "gateway, put": (plain, puts),
        }
        found: dict[str, list[tuple[float, float, list[float]]]] = {case: [] for case in cases}
        for _ in range(ROUNDS):
            for case, (server, asked) in cases.items():
                found[case].append(measured(server, asked))
    for case, rounds in found.items():
        cpu, rate, _ = sorted(rounds)[len(rounds) // 2]
        taken = [each for _, _, times in rounds for each in times]
        report.row(
            case, server_us=cpu, per_s=rate, p50_ms=percentile(taken, 0.5), p99_ms=percentile(taken, 0.99)
        )
    report.finish()


if __name__ == "__main__":
    main()
