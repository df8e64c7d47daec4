"""Chaos on real processes: load and checkers of the simulator, kill -9, SIGSTOP, proxies that disturb links.

    python scripts/chaos --seconds 30 --seed 7

Exit 0: nothing acknowledged was lost, all owners agree, no checker objects.  Exit 1: a violation; data, logs
and the history are kept then.  The seed fixes workload and faults; real processes keep their own timing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.figures import document, lines  # noqa: E402
from chaos.homes.own_home import judge_in_home  # noqa: E402
from chaos.run_real import ChaosOptions, run_chaos  # noqa: E402

__all__ = ["main"]

LONGEST_S = 600.0


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if not 0 < given.seconds <= LONGEST_S:
        print(f"--seconds {given.seconds:g}: above 0, up to {LONGEST_S:g}", file=sys.stderr)
        return 2
    options = ChaosOptions(
        seed=given.seed, seconds=given.seconds, nodes=given.nodes, operations=given.operations
    )

    async def run_and_judge(home: Path) -> bool:
        result = await run_chaos(options, str(home / "chaos"))
        result_document = document(result)
        print(json.dumps(result_document) if given.json else "\n".join(lines(result_document)))
        if result.violations:
            text = "\n".join(result.history.to_lines()) + "\n"
            (home / "history.jsonl").write_text(text, encoding="utf-8")
        return not result.violations

    return judge_in_home("chaos", run_and_judge)


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
