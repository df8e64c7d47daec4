"""How long a connection takes with TLS and without, to real nodes on loopback, in turns.

    python scripts/bench/tls/handshakes.py [--quick] [--rounds 100] [--json PATH]

One node of a cluster without TLS and one of a cluster with it.  `connect` is a TCP connection to the node's
port for gRPC, with the TLS handshake where there is one; `first answer` is a new client up to its first value
over a session: the topology by a plain call, the proofs of both sides, and with `tcp` a second connection.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

import uvloop

import ringmill
from local_cluster import BenchCluster
from report import Report, arguments, percentile
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.wire.offers import CarrierName

GOAL_MS = 10.0
CARRIERS: tuple[CarrierName, ...] = ("grpc", "tcp")


async def connected_ms(address: str, tls: TlsFiles | None) -> float:
    host, _, port = address.rpartition(":")
    context = None if tls is None else tls.client_context()
    begun = time.perf_counter()
    _, writer = await asyncio.open_connection(
        host, int(port), ssl=context, server_hostname=None if context is None else host
    )
    took_ms = (time.perf_counter() - begun) * 1000
    writer.transport.abort()
    return took_ms


async def answered_ms(address: str, token: str, ca: str, transport: CarrierName) -> float:
    begun = time.perf_counter()
    async with ringmill.connect(address, timeout=30.0, token=token, tls_ca=ca, transport=transport) as db:
        await db.get("key", None)
        return (time.perf_counter() - begun) * 1000


async def measured(clusters: dict[str, BenchCluster], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds by what was done and by the cluster."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, cluster in clusters.items():
            ca = str(cluster.folder / "tls" / "ca.pem") if name == "tls" else ""
            token = (cluster.folder / "token").read_text(encoding="ascii").strip()
            tls = TlsFiles(ca=ca) if ca else None
            took = {"connect": await connected_ms(cluster.endpoints, tls)}
            for carrier in CARRIERS:
                took[f"first answer {carrier}"] = await answered_ms(cluster.endpoints, token, ca, carrier)
            for what, took_ms in took.items():
                times.setdefault((what, name), []).append(took_ms)
    return times


def main() -> None:
    parser = arguments("handshakes", __doc__ or "")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    rounds = max(1, options.rounds // (10 if options.quick else 1))
    report = Report("handshakes", settings={"rounds": rounds}, json_path=options.json)
    shape = ["--client-transport", "tcp"]
    with (
        BenchCluster(nodes=1, options=shape) as plain,
        BenchCluster(nodes=1, options=[*shape, "--tls"]) as secure,
    ):
        times = uvloop.run(measured({"plain": plain, "tls": secure}, rounds))
    for (what, name), took in sorted(times.items()):
        report.row(what, cluster=name, p50_ms=percentile(took, 0.5), p99_ms=percentile(took, 0.99))
    handshake_ms = percentile(times["connect", "tls"], 0.5) - percentile(times["connect", "plain"], 0.5)
    report.goal("a TLS handshake", handshake_ms, GOAL_MS, "ms")
    report.finish()


if __name__ == "__main__":
    main()
