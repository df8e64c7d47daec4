"""Puts and gets on real nodes beside other stores, and beside other checkouts of this one.

    python scripts/bench/kv.py                                     puts and gets at 1, 64 and 256 in flight
    python scripts/bench/kv.py --against ../other --in-flight 64   the same load on another checkout, in turns
    python scripts/bench/kv.py --workloads a,b,f --keys-by zipf --value-bytes 1024 --durability buffered
    python scripts/bench/kv.py --transports tcp,tcp+tls             what TLS costs
    python scripts/bench/kv.py --in-flight 1,64 --batch 100        batches of 100 beside single requests
    python scripts/bench/kv.py --rate 500,1000,2000,4000 --in-flight 512     open loop: latency against load

Each contestant has nodes and a client process of its own.  They all stay up, idle while it is not their
turn, and in each round every case is done by all of them in turns (A B C, A B C), so that a busy machine is
busy for all.  `x` is the rate over that of the first contestant; `client us` and `nodes us` are
microseconds of processor time an operation, of the client and of all nodes together: the figure to steer by
where client and nodes share a machine, as here.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kv_goals import tell_goals
from report import Report, arguments
from ringmill.client.bench.keys import DISTRIBUTIONS
from ringmill.client.bench.workloads import WORKLOADS
from stores.cases import Case, Result, Results, batch_cases, beside_singles, knees
from stores.cassandra import Cassandra, why_no_cassandra
from stores.contestants import Contestant, RingmillNodes, Shape
from stores.other_stores import Etcd, Floor, Redis
from stores.processes import program

WARM_UP_S = 0.5


def cases_of(options: argparse.Namespace) -> list[Case]:
    combined = itertools.product(
        *(options.workloads, options.keys_by, options.value_bytes),
        *(options.durability, options.in_flight, options.rate),
    )
    singles = [
        Case(workload, keys_by, value_bytes, in_flight, durability, rate)
        for workload, keys_by, value_bytes, durability, in_flight, rate in combined
    ]
    return singles + batch_cases(singles, options.batch)


def _knows_carriers(checkout: Path) -> bool:
    """An older one carries frames over gRPC alone."""
    return (checkout / "cluster" / "adapters" / "network" / "sockets").exists()


def contestants_of(options: argparse.Namespace, report: Report) -> list[Contestant]:
    """Ourselves, the other checkouts, and the stores that are installed; the report says who is left out."""
    shape = Shape(options.nodes, min(options.replicas, options.nodes))
    counts = options.count_frames
    chosen: list[Contestant] = [
        RingmillNodes(shape, transport=one, counts_frames=counts) for one in options.transports
    ]
    for path in options.against:
        checkout = Path(path).resolve()
        if not (checkout / "ringmill" / "__main__.py").exists():
            raise SystemExit(f"--against {path}: there is no checkout of ringmill in {checkout}")
        chosen += [
            RingmillNodes(shape, name=checkout.name, checkout=checkout, transport=one, counts_frames=counts)
            for one in options.transports
            if one == "grpc" or _knows_carriers(checkout)
        ]
    others: list[tuple[str, str, Callable[[Path], Contestant]]] = [
        ("etcd", "etcd", lambda path: Etcd(path, options.nodes)),
        ("redis", "redis-server", Redis),
    ]
    for name, command, make in others:
        if (named := getattr(options, name)) == "no":
            report.note(f"skipped: {name}, as it was asked to be")
        elif (path := program(command, named)) is None:
            report.note(
                f"skipped: {name}, as there is no program {named or command}; --{name} PATH names one"
            )
        else:
            chosen.append(make(path))
    if options.floor:
        chosen.append(Floor(shape))
    if lacking := why_no_cassandra(options.cassandra):
        report.note(f"skipped: cassandra, as {lacking}")
    else:
        chosen.append(Cassandra(Path(options.cassandra).resolve(), shape, options.cassandra_warm_up))
    return chosen


def rounds_of(
    contestants: list[Contestant], cases: list[Case], options: argparse.Namespace, report: Report
) -> dict[tuple[Case, str], Result]:
    """All rounds of all cases, values of one size after those of another."""
    results: dict[tuple[Case, str], Result] = defaultdict(Result)
    left_out: dict[str, None] = {}
    for value_bytes in dict.fromkeys(case.value_bytes for case in cases):
        groups = dict.fromkeys(
            WORKLOADS[case.workload].group for case in cases if case.value_bytes == value_bytes
        )
        for one, group in itertools.product(contestants, groups):
            if group and one.why_no_scans:
                continue
            asked = {"do": "load", "keys": options.keys, "value_bytes": value_bytes, "group": group}
            loaded = one.ask(asked)
            assert not loaded["errors"], f"{one.name}: loading failed: {loaded['errors']}"
        for number in range(options.rounds):
            for case in cases:
                if case.value_bytes != value_bytes:
                    continue
                for one in contestants:
                    asked = _asked(case, options, seed=number + 1)
                    scans = one.why_no_scans if WORKLOADS[case.workload].group else ""
                    if why := scans or one.why_not(asked):
                        left_out[f"skipped: {one.name} in {case.name}: {why}"] = None
                    else:
                        results[case, one.name].rounds.append(one.ask(asked))
    for text in left_out:
        report.note(text)
    return results


def _asked(case: Case, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    return {
        "do": "run",
        "workload": case.workload,
        "distribution": case.keys_by,
        "value_bytes": case.value_bytes,
        "in_flight": case.in_flight,
        "durability": None if case.durability == "synced" else case.durability,
        "keys": options.keys,
        "seconds": options.seconds,
        "warm_up_s": min(WARM_UP_S, options.seconds / 4),
        "rate_per_s": case.rate_per_s,
        "way": case.way,
        "w": options.w,
        "r": options.r,
        "seed": seed,
    }


def tell(results: Results, cases: list[Case], names: list[str], report: Report) -> None:
    """Rows in the order of the cases, each contestant beside the first."""
    for case in cases:
        figures = {name: results[case, name].figures() for name in names if (case, name) in results}
        for name, one in figures.items():
            first = figures.get(names[0])
            beside = {"x": one["per_s"] / first["per_s"]} if first and len(names) > 1 else {}
            asked = {"rate_per_s": case.rate_per_s} if case.rate_per_s else {}
            named: dict[str, str | float] = {"in_flight": case.in_flight, **asked, "store": name}
            beside |= beside_singles(results, case, name)
            report.row(case.name, **named, **beside, **one)
            report.details.append({"case": case.name, **named, "rounds": results[case, name].rounds})
    for text in knees(results, names):
        report.note(text)


def main() -> None:
    options = parsed()
    cases = cases_of(options)
    settings: dict[str, str | int | float | bool | None] = {
        "nodes": options.nodes, "replicas": min(options.replicas, options.nodes),
        "w": options.w or "default", "r": options.r or "default", "keys": options.keys,
        "seconds": options.seconds, "rounds": options.rounds,
        "arrival": "open" if any(options.rate) else "closed",
    }  # fmt: skip
    report = Report("kv", settings, options.json)
    contestants = contestants_of(options, report)
    with ExitStack() as stack:
        for one in contestants:
            stack.enter_context(one)
            report.note(f"{one.name}: {one.settings}")
        results = rounds_of(contestants, cases, options, report)
    tell(results, cases, [one.name for one in contestants], report)
    if (options.nodes, options.replicas, options.w, options.r) == (3, 3, None, None):
        tell_goals(report)
    report.finish()


def parsed() -> argparse.Namespace:
    parser = arguments("kv", __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--workloads", default="put,get", help="put, get, a, b, c, d, e, f  [put,get]")
    parser.add_argument("--keys-by", default="uniform", help="uniform, zipf  [uniform]")
    parser.add_argument("--value-bytes", default="100", help="16 to 65536  [100]")
    parser.add_argument("--in-flight", default="1,64,256", help="1 to 512  [1,64,256]")
    parser.add_argument("--batch", default="", help="sizes of batches, 1 to 10000, beside single requests")
    parser.add_argument("--durability", default="synced", help="memory, buffered, synced  [synced]")
    parser.add_argument("-w", help="level of puts")
    parser.add_argument("-r", help="level of gets")
    parser.add_argument(
        "--rate", default="0", help="operations a second: an open loop; several show the knee"
    )
    parser.add_argument("--transports", default="grpc", help="grpc, tcp, unix, grpc+tls, tcp+tls  [grpc]")
    parser.add_argument("--nodes", type=int, default=3, help="1 to 7  [3]")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", action="append", default=[], metavar="PATH", help="another checkout")
    parser.add_argument("--count-frames", action="store_true", help="also those of the nodes, at some cost")
    parser.add_argument("--floor", action="store_true", help="also the same frames with a dict behind them")
    for name in ("etcd", "redis"):
        parser.add_argument(f"--{name}", metavar="PATH", help="its program, or no  [the one in PATH, if any]")
    parser.add_argument("--cassandra", metavar="DIR", help="where its jars are, in lib/ and driver/")
    parser.add_argument(
        "--cassandra-warm-up", type=float, default=60.0, metavar="S",
        help="seconds of load that do not count, in which its virtual machines compile  [60]",
    )  # fmt: skip
    options = parser.parse_args()
    options.workloads = options.workloads.split(",")
    options.keys_by, options.durability = options.keys_by.split(","), options.durability.split(",")
    options.value_bytes = [int(size) for size in options.value_bytes.split(",")]
    options.in_flight = [int(count) for count in options.in_flight.split(",")]
    options.batch = [int(size) for size in options.batch.split(",") if size]
    options.rate = [float(rate) for rate in options.rate.split(",")]
    options.transports = options.transports.split(",")
    options.w, options.r = _level(options.w), _level(options.r)
    if options.quick:
        options.seconds, options.rounds, options.keys = options.seconds / 3, 1, options.keys // 10
        options.cassandra_warm_up /= 10
    _check(parser, options)
    return options


def _level(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdecimal() else text


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with one line about an option that cannot be."""
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"--workloads {name}: there are {', '.join(WORKLOADS)}")
    for name in options.keys_by:
        if name not in DISTRIBUTIONS:
            parser.error(f"--keys-by {name}: there are {', '.join(DISTRIBUTIONS)}")
    for name in options.durability:
        if name not in ("memory", "buffered", "synced"):
            parser.error(f"--durability {name}: there are memory, buffered, synced")
    if not all(16 <= size <= 65_536 for size in options.value_bytes):
        parser.error("--value-bytes: from 16 to 65536")
    if not all(1 <= count <= 512 for count in options.in_flight):
        parser.error("--in-flight: from 1 to 512")
    if not all(1 <= size <= 10_000 for size in options.batch):
        parser.error("--batch: from 1 to 10000")
    if not 1 <= options.nodes <= 7:
        parser.error("--nodes: from 1 to 7")
    if min(options.seconds, options.rounds, options.keys) <= 0 or min(options.rate) < 0:
        parser.error("--seconds, --rounds and --keys are above 0, --rate is not below")
    if options.cassandra_warm_up < 0:
        parser.error("--cassandra-warm-up: not below 0")


if __name__ == "__main__":
    main()
