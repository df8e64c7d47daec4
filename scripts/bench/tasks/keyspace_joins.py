"""Two keyspaces joined by the hash tags of their keys: where they lie, by hash and by a merge, in turns.

    python scripts/bench/tasks/keyspace_joins.py [--quick] [--nodes 3] [--orders 100000] [--rounds 3]
                                                 [--json PATH]

Orders of 100 bytes, and a tenth as many users, read with consistency one.  `shuffled` is what reduces have
read from other nodes.  CPU seconds are those of the nodes with their task processes, reading the keyspaces
included.  Sorted output lines are compared by checksum.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import ROOT, BenchCluster
from report import Report, arguments, percentile
from ringmill.client.bench.processor_time import used_s

JOBS = ROOT / "scripts" / "bench" / "styles" / "joined_keyspaces.py"
FOLDER = ROOT / "build" / "bench"
NAMES = ("copartitioned", "by_hash", "by_merge")


def fill(cluster: BenchCluster, keyspace: str, lines: list[str]) -> None:
    cluster.command("keyspace", "create", keyspace)
    program = str(Path(sys.executable).parent / "ringmill")
    typed = [program, "mput", "-", "--keyspace", keyspace, "--endpoints", cluster.endpoints]
    token = cluster.folder / "token"
    typed += ["--token-file", str(token)] if token.exists() else []
    subprocess.run(typed, input="".join(lines), text=True, check=True, stdout=subprocess.DEVNULL)


def _note(order: int) -> str:
    """96 hexadecimal digits, which no compression makes less than half of."""
    return sha384(b"%d" % order).hexdigest()


def run(cluster: BenchCluster, name: str, output: Path) -> dict[str, Any]:
    before, started = sum(map(used_s, cluster.pids)), time.perf_counter()
    ended = cluster.run_job(f"{JOBS}:{name}", output)
    seconds = time.perf_counter() - started
    cpu_s = sum(map(used_s, cluster.pids)) - before
    told: Any = cluster.json("job", "status", str(ended["job"]), "--tasks")
    lines = sorted(line for part in output.glob("part-*") for line in part.read_bytes().splitlines())
    shuffled = sum(each["bytes_travelled"] for each in told["attempts"])
    digest = sha256(b"\n".join(lines)).hexdigest()[:16]
    return {"seconds": seconds, "cpu_s": cpu_s, "shuffled": shuffled, "lines": len(lines), "digest": digest}


def main() -> None:
    parser = arguments("keyspace_joins", "Joins of two keyspaces, where they lie and by sending rows.")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    orders, rounds = (options.orders // 10, 1) if options.quick else (options.orders, options.rounds)
    users = orders // 10
    settings = {"nodes": options.nodes, "orders": orders, "users": users, "rounds": rounds}
    report = Report("keyspace_joins", settings, options.json)
    with ExitStack() as stack:
        cluster = stack.enter_context(BenchCluster(nodes=options.nodes))
        fill(cluster, "users", [f"{{u{number}}}\tname {number}\n" for number in range(users)])
        fill(cluster, "orders", [f"{{u{n * 7919 % users}}}/{n}\t{_note(n)}\n" for n in range(orders)])
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
        for _ in range(rounds):
            for name in NAMES:
                taken[name].append(run(cluster, name, FOLDER / f"joined-{name}"))
    if len({(each["lines"], each["digest"]) for runs in taken.values() for each in runs}) != 1:
        raise SystemExit("the strategies gave different pairs")
    for name, runs in taken.items():
        report.row(
            name,
            seconds=percentile([each["seconds"] for each in runs], 0.5),
            cpu_s=percentile([each["cpu_s"] for each in runs], 0.5),
            shuffled_mib=runs[0]["shuffled"] / 2**20,
            pairs=runs[0]["lines"],
        )
    report.finish()


if __name__ == "__main__":
    main()
