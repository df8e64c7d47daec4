"""Chaos on real processes: the load and checkers of the simulator, kill -9, SIGSTOP, proxies that bend links.

    python scripts/chaos --seconds 30 --seed 7

Exit 0: nothing acknowledged was lost, all owners agree, no checker objects.  Exit 1: a violation; data, logs
and the history are kept then.  The seed fixes workload and faults; real processes keep their own timing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would tell of every reset connection

from chaos.figures import document, lines  # noqa: E402
from chaos.run_real import ChaosOptions, ChaosResult, run_chaos  # noqa: E402

__all__ = ["main"]

LONGEST_S = 600.0
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if not 0 < given.seconds <= LONGEST_S:
        print(f"--seconds {given.seconds:g}: above 0, up to {LONGEST_S:g}", file=sys.stderr)
        return 2
    options = ChaosOptions(
        seed=given.seed, seconds=given.seconds, nodes=given.nodes, operations=given.operations
    )
    home = tempfile.mkdtemp(prefix="ringmill-chaos-")
    is_kept = False
    try:
        result = asyncio.run(_until_interrupted(options, str(Path(home) / "chaos")))
        is_kept = bool(result.violations)
        told = document(result)
        print(json.dumps(told) if given.json else "\n".join(lines(told)))
        if is_kept:
            _keep(result, Path(home))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    finally:
        if not is_kept:
            shutil.rmtree(home, ignore_errors=True)
    return 1 if is_kept else 0


async def _until_interrupted(options: ChaosOptions, folder: str) -> ChaosResult:
    """SIGTERM ends the run as Ctrl-C does: with everything stopped and removed."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run_chaos(options, folder)


def _keep(result: ChaosResult, home: Path) -> None:
    path = home / "history.jsonl"
    path.write_text("\n".join(result.history.to_lines()) + "\n", encoding="utf-8")
    print(f"history: {path}; data and logs: {home / 'chaos'}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/chaos", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="time of load and faults, up to 600  [30]"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of workload and faults  [1]")
    parser.add_argument("--nodes", type=int, default=5, help="number of node processes, 3 or more  [5]")
    parser.add_argument(
        "--operations", type=int, default=200_000, help="the load ends after this number  [200000]"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
