"""Hostile callers at both doors of a gateway, and an honest client of each beside them.

    python scripts/chaos/doors [--only TEXT] [--json PATH]

Three nodes and one gateway are started.  Each attack (scripts/chaos/doors/attacks.py) is made by itself.  The
table has what its callers were told and how many of them, the gateway's resident memory before, at most and
afterwards, and how long the requests of the clients beside took.  It held when no request beside failed, no
attack had the gateway grow by more than 512 MiB, and the gateway still runs.

Exit 0: it held; 1: not, and data and logs are kept.  It ends by itself, after about 5 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from chaos.doors.attacks import ATTACKS, prepared  # noqa: E402
from chaos.doors.beside import Memory, Place, beside  # noqa: E402
from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from report import machine, percentile  # noqa: E402
from ringmill.client.connection import connect  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402

__all__ = ["main"]

NODES: Final = 3
LOWEST_PORT: Final = 24_000
GROWTH_MIB: Final = 512
LONGEST_S: Final = 120.0  # of one attack
FILES: Final = 4096
CALM_S: Final = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="attacks whose names have this text")
    parser.add_argument("--json", default="", metavar="PATH", help="file for the figures")
    given = parser.parse_args()
    names = [name for name in ATTACKS if given.only in name]
    if not names:
        parser.error(f"--only {given.only}: there are {', '.join(ATTACKS)}")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most), most))

    def run_and_judge(cluster: LocalCluster) -> bool:
        with _gateway(cluster) as place:
            result = asyncio.run(_attack_all(cluster, place, names))
        if given.json:
            Path(given.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        for each in result["broken"]:
            print(f"BROKEN: {each}")
        return not result["broken"]

    return judge_on_cluster("doors", nodes=NODES, lowest_port=LOWEST_PORT, run_and_judge=run_and_judge)


@contextmanager
def _gateway(cluster: LocalCluster) -> Iterator[Place]:
    endpoints = ",".join(node.address for node in cluster.nodes)
    line = ["-m", "ringmill", "--endpoints", endpoints, "gateway", "--http", "0", "--redis", "0"]
    log = Path(cluster.folder) / "gateway.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, *line], stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)
    try:
        assert process.stdout is not None
        ports = [int(process.stdout.readline().rsplit(b":", 1)[1]) for _ in range(2)]
        yield Place(ports[0], ports[1], process.pid)
    finally:
        process.terminate()
        process.wait(30)


async def _attack_all(cluster: LocalCluster, place: Place, names: list[str]) -> dict[str, Any]:
    async with connect([cluster.nodes[0].address], token=read_token(cluster.folder)) as db:
        await db.keyspaces.create("redis0", kind="registers")
        await db.keyspaces.create("redis0-keys")
    await prepared(place)
    attacks, broken = {}, []
    quiet = await _attack(place, None)
    print(_row("nothing", quiet), flush=True)
    for name in names:
        attacks[name] = seen = await _attack(place, name)
        print(_row(name, seen), flush=True)
        if seen["errors"]:
            broken.append(f"{name}: {len(seen['errors'])} requests beside failed: {seen['errors'][0]}")
        if seen["peak_mib"] - seen["before_mib"] > GROWTH_MIB:
            broken.append(f"{name}: the gateway grew by {seen['peak_mib'] - seen['before_mib']:.0f} MiB")
    return {"machine": machine(), "quiet": quiet, "attacks": attacks, "broken": broken}


async def _attack(place: Place, name: str | None) -> dict[str, Any]:
    """The figures of one attack, or of 3 s without one."""
    memory = Memory(place.pid)
    watching = asyncio.create_task(memory.watch())
    honest = asyncio.create_task(beside(place))
    answers: dict[str, int] = {}
    try:
        if name is None:
            await asyncio.sleep(3.0)
        else:
            async with asyncio.timeout(LONGEST_S):
                answers = dict((await ATTACKS[name](place)).most_common(6))
    except TimeoutError:
        answers = {f"the attack did not end in {LONGEST_S:g} s": 1}
    await asyncio.sleep(CALM_S)
    for task in (watching, honest):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    seen = await honest
    return {
        "told": answers,
        "before_mib": memory.began,
        "peak_mib": memory.peak,
        "after_mib": memory.now(),
        "requests": len(seen.took_s),
        "p99_ms": 1000 * percentile(seen.took_s, 0.99),
        "max_ms": 1000 * max(seen.took_s, default=0.0),
        "errors": seen.errors,
    }


def _row(name: str, seen: dict[str, Any]) -> str:
    memory = f"{seen['before_mib']:.0f} → {seen['peak_mib']:.0f} → {seen['after_mib']:.0f} MiB"
    beside_it = f"{seen['requests']} beside, p99 {seen['p99_ms']:.0f} ms, most {seen['max_ms']:.0f} ms"
    answers = "".join(f"\n    {count} x {what}" for what, count in seen["told"].items())
    return f"{name}: {memory}; {beside_it}, {len(seen['errors'])} failed{answers}"


if __name__ == "__main__":
    sys.exit(main())
