"""What the gateway's doors add to a request: microseconds of processor time, and rates beside Redis.

    python scripts/bench/doors/door_costs.py --redis-server /opt/redis/redis-server
    python scripts/bench/doors/door_costs.py --only http --against ../other
    python scripts/bench/doors/door_costs.py --transport tcp         what carries frames to the nodes

The same load goes to each contestant in turns, over connections that stay open.  Microseconds are of
processor time a request, of the whole process with its threads:

  gateway    the gateway with one door
  client     a process that asks the cluster for the same by the client library, with as many requests in
             flight, and does nothing else: the gateway has this client in it
  bare       a server with the door's parser (aiohttp over HTTP) that answers from memory
  adds       gateway - client - bare over HTTP, where the bare server is not ours; gateway - client for
             Redis's protocol, where all of the bare server is the door's own work
  floor      one process with that parser and that client, and nothing of the door: no checks, no limits
  over floor gateway - floor: the door's own work, and what of `adds` is no loss of company in frames
  against    the gateway of another checkout

Reads from the gateway's cache ask no cluster, so nothing is taken off for a client.  Redis syncs each write
before its answer (appendfsync always) and has one copy of the data; the cluster has three.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from doors.asked import KEYS, REGISTERS, VALUE, key_of
from doors.load import Batches, Turn, after_http_answer, measured, same_answers
from doors.local_gateway import LocalServer, free_port, http_gateway, listening, redis_gateway
from local_cluster import BenchCluster
from report import Report, arguments, percentile
from ringmill.cluster.adapters.serving_process import GRPC_SETTINGS
from ringmill.cluster.wire.offers import CARRIERS
from stores.client_process import LineProcess, our_environment
from stores.other_stores import program_version, redis_command
from stores.processes import folder_of, program

NODES = 3
SECONDS, ROUNDS = 0.8, 3
GOAL_US = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked: `verb` is also the client's; `cached` reads are those of a gateway with a cache."""

    verb: str
    connections: int
    pipeline: int = 1
    is_cached: bool = False

    @property
    def name(self) -> str:
        shape = f"{self.connections} connection{'s' if self.connections > 1 else ''}"
        shape += f" x {self.pipeline} in a pipeline" if self.pipeline > 1 else ""
        return f"{self.verb}{' from the cache' if self.is_cached else ''}, {shape}"

    @property
    def door(self) -> str:
        return self.verb.partition(" ")[0]


CASES = [
    Case("http get", 1), Case("http get", 32), Case("http get", 32, is_cached=True),
    Case("http put", 1), Case("http put", 32),
    Case("redis get", 1), Case("redis get", 32), Case("redis get", 1, 100),
    Case("redis set", 1), Case("redis set", 32), Case("redis set", 1, 100),
]  # fmt: skip


def request_of(verb: str, key: bytes) -> bytes:
    """As curl or a client of Redis would send it, and no header more than needed."""
    method = verb.partition(" ")[2].upper()
    if verb.startswith("http"):
        body = VALUE if method == "PUT" else b""
        path = f"{method} /v1/kv/default/{key.decode()} HTTP/1.1"
        return f"{path}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    words = [method.encode(), key, *([VALUE] if method == "SET" else [])]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def batches_of(case: Case) -> Batches:
    """An endless series over all keys."""
    requests = [request_of(case.verb, key_of(number)) for number in range(KEYS)]
    size = case.pipeline
    joined = [b"".join(requests[at : at + size]) for at in range(0, KEYS, size)]
    value = b"$%d\r\n%b\r\n" % (len(VALUE), VALUE)
    one = value if case.verb == "redis get" else b"+OK\r\n"
    whole = after_http_answer if case.door == "http" else same_answers(one * size)
    return Batches(itertools.cycle(joined), whole, size, case.connections)


@dataclass(slots=True)
class Found:
    """The turns of one case by contestant, and what the client used a request in each round."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    client_us: list[float] = field(default_factory=list)

    def used_us(self, name: str) -> float:
        return statistics.median(turn.used_us for turn in self.turns[name])

    def per_s(self, name: str) -> float:
        return statistics.median(turn.per_s for turn in self.turns[name])

    def taken_ms(self, name: str) -> list[float]:
        return [each for turn in self.turns[name] for each in turn.taken_ms]


class Contestants:
    """All processes, up until this is left."""

    def __init__(
        self, redis: Path | None, doors: Sequence[str], against: Path | None, transport: str
    ) -> None:
        self._redis = redis
        self._against = against
        self._transport = transport
        self._doors = doors
        self._stack = ExitStack()
        self._servers: dict[tuple[str, str], LocalServer] = {}

    def __enter__(self) -> Contestants:
        with ExitStack() as stack:
            cluster = stack.enter_context(
                BenchCluster(nodes=NODES, options=["--client-transport", self._transport])
            )
            client = [sys.executable, "-P", "-m", "doors.own_client", cluster.endpoints, self._transport]
            self._client = stack.enter_context(LineProcess(client, _as_a_gateway()))
            if "http" in self._doors:
                self._start_http(stack, cluster)
            if "redis" in self._doors:
                self._start_redis(stack, cluster)
            self._load_keys()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_http(self, stack: ExitStack, cluster: BenchCluster) -> None:
        def start(name: str, server: AbstractContextManager[LocalServer]) -> None:
            self._servers["http", name] = stack.enter_context(server)

        start("gateway", http_gateway(cluster, "--transport", self._transport))
        start("cached", http_gateway(cluster, "--cache-ttl", "600s"))
        start("floor", _bare("http", cluster.endpoints, self._transport))
        start("bare", _bare("http"))
        if self._against is not None:
            start("against", http_gateway(cluster, checkout=self._against))

    def _start_redis(self, stack: ExitStack, cluster: BenchCluster) -> None:
        def start(name: str, server: AbstractContextManager[LocalServer]) -> None:
            self._servers["redis", name] = stack.enter_context(server)

        cluster.command("keyspace", "create", REGISTERS, "--kind", "registers")
        cluster.command("keyspace", "create", f"{REGISTERS}-keys")
        start("gateway", redis_gateway(cluster, "--transport", self._transport))
        start("floor", _bare("redis", cluster.endpoints, self._transport))
        start("bare", _bare("redis"))
        if self._against is not None:
            start("against", redis_gateway(cluster, checkout=self._against))
        if self._redis is not None:
            folder, port = folder_of("redis"), free_port()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            start("redis", listening(redis_command(self._redis, port, folder), "redis", port))

    def turns(self, case: Case, seconds: float) -> Iterator[tuple[str, Turn]]:
        """One turn of each server that can do a case."""
        ours = "cached" if case.is_cached else "gateway"
        for name in (ours, "against", "floor", "bare", "redis"):
            server = self._servers.get((case.door, name))
            if server is not None and not (case.is_cached and name in ("against", "floor")):
                turn = measured(server.pid, server.port, batches_of(case), seconds)
                yield "gateway" if name == ours else name, turn

    def client_us(self, case: Case, seconds: float) -> float:
        """Processor microseconds of the client a request."""
        in_flight = case.connections * case.pipeline
        used = self._client.ask({"verb": case.verb, "in_flight": in_flight, "seconds": seconds})
        return float(used["used_s"] / used["requests"] * 1e6)

    def _load_keys(self) -> None:
        """Each key has a value, and each process has done some of everything."""
        for case in (Case("http put", 32), Case("http get", 32, is_cached=True), Case("redis set", 1, 100)):
            if case.door in self._doors:
                for _ in self.turns(case, 3.0):
                    pass
                self.client_us(case, 1.0)


def _bare(scheme: str, *asks: str) -> AbstractContextManager[LocalServer]:
    port = free_port()
    line = [sys.executable, "-P", "-m", "doors.bare_servers", scheme, str(port), *asks]
    return listening(line, scheme, port, _as_a_gateway())


def _as_a_gateway() -> dict[str, str]:
    """The environment of processes beside a gateway, which gives gRPC these settings itself."""
    return {**our_environment(), **GRPC_SETTINGS}


def row(report: Report, case: Case, found: Found) -> None:
    """One line, and what the door adds beside its goal."""
    gateway_us, bare_us = found.used_us("gateway"), found.used_us("bare")
    client_us = statistics.median(found.client_us) if found.client_us else 0.0
    floor_us = found.used_us("floor") if "floor" in found.turns else bare_us
    figures = {"gateway_us": gateway_us, "client_us": client_us, "bare_us": bare_us, "floor_us": floor_us}
    adds_us = gateway_us - client_us - (bare_us if case.door == "http" else 0.0)
    figures |= {"adds_us": adds_us, "over_floor_us": gateway_us - floor_us}
    taken = found.taken_ms("gateway")
    figures |= {"per_s": found.per_s("gateway"), "p50_ms": percentile(taken, 0.5)}
    figures |= {"p99_ms": percentile(taken, 0.99)}
    if "floor" in found.turns:
        figures |= {"floor_per_s": found.per_s("floor")}
    if "against" in found.turns:
        figures |= {"against_us": found.used_us("against"), "against_per_s": found.per_s("against")}
    if "redis" in found.turns:
        taken = found.taken_ms("redis")
        figures |= {"redis_us": found.used_us("redis"), "redis_per_s": found.per_s("redis")}
        figures |= {"redis_p50_ms": percentile(taken, 0.5), "redis_p99_ms": percentile(taken, 0.99)}
    report.row(case.name, **figures)
    report.goal(f"{case.name}: the door adds", adds_us, GOAL_US, "us")


def options_given() -> argparse.Namespace:
    parser = arguments("door_costs", "processor time that the gateway's doors add to a request")
    parser.add_argument("--redis-server", metavar="PATH", help="the program to measure beside  [from PATH]")
    parser.add_argument("--only", choices=("http", "redis"), help="one of the doors")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="measure its gateway too")
    parser.add_argument("--transport", choices=CARRIERS, default="grpc", help="carrier to the nodes  [grpc]")
    return parser.parse_args()


def main() -> None:
    given = options_given()
    seconds, rounds = (SECONDS / 5, 1) if given.quick else (SECONDS, ROUNDS)
    doors = [given.only] if given.only else ["http", "redis"]
    settings = {
        "nodes": NODES,
        "transport": given.transport,
        "keys": KEYS,
        "value_bytes": len(VALUE),
        "seconds": seconds,
        "rounds": rounds,
    }
    report = Report("door_costs", settings, given.json, ("aiohttp",))
    redis = program("redis-server", given.redis_server) if "redis" in doors else None
    if redis is not None:
        report.note(f"beside: {program_version([str(redis), '--version'])}, appendfsync always")
    elif "redis" in doors:
        report.note("skipped: Redis, as there is no redis-server; --redis-server PATH names one")
    cases = [case for case in CASES if case.door in doors]
    found = {case: Found() for case in cases}
    with Contestants(redis, doors, given.against, given.transport) as contestants:
        for _, case in itertools.product(range(rounds), cases):
            for name, turn in contestants.turns(case, seconds):
                found[case].turns.setdefault(name, []).append(turn)
            if not case.is_cached:
                found[case].client_us.append(contestants.client_us(case, seconds))
    for case in cases:
        row(report, case, found[case])
    report.finish()


if __name__ == "__main__":
    main()
