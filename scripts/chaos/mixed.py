"""All sorts of requests at once on real processes, which are killed and paused round after round.

    python scripts/chaos/mixed.py --rounds 100 --seed 7

Keys and values, registers, counters, sets, maps, scans and watches; the checkers of the simulator judge what
was answered, and Porcupine judges the registers, too, where Go is installed.  Each round kills or pauses one
or two nodes, or kills all at once; in one round of three links are disturbed beside it.  Exit 0: nothing that
was acknowledged is lost and no judge objects; 1: one does, and data, logs and histories are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.homes.own_home import judge_in_home  # noqa: E402
from chaos.loads.every import LOADS  # noqa: E402
from chaos.mixed_story import MixedOptions, MixedResult, run_mixed  # noqa: E402
from judges.register_lines import Verdict, judge_porcupine, write_lines  # noqa: E402

__all__ = ["main"]

MOST_ROUNDS: Final = 1000
TOLD: Final = 20  # violations


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if not 1 <= given.rounds <= MOST_ROUNDS:
        parser.error(f"--rounds {given.rounds}: 1 to {MOST_ROUNDS}")
    loads = given.loads.split(",")
    if unknown := [name for name in loads if name not in LOADS]:
        parser.error(f"there is no load {unknown[0]!r}; there are: {', '.join(LOADS)}")
    options = MixedOptions(given.seed, given.rounds, given.nodes, tuple(loads), given.crowd, given.unsynced)

    async def run_and_judge(home: Path) -> bool:
        result = await run_mixed(options, str(home / "chaos"), lambda line: print(line, flush=True))
        path = Path(given.registers) if given.registers else home / "registers.jsonl"
        write_lines(result.history.registers, path)
        (home / "history.jsonl").write_text("\n".join(result.history.to_lines()), encoding="utf-8")
        verdict = judge_porcupine(path, download=given.download) if result.history.registers else None
        result_document = _document(result, verdict)
        print("\n".join(_lines(result_document)))
        if given.json:
            print(json.dumps(result_document))
        return bool(result_document["verdict"] == "ok")

    return judge_in_home("mixed", run_and_judge)


def _document(result: MixedResult, porcupine: Verdict | None) -> dict[str, Any]:
    options, history = result.options, result.history
    stories = [*map(str, result.violations), *(porcupine.stories if porcupine else ())]
    return {
        "seed": options.seed,
        "nodes": options.nodes,
        "rounds": result.rounds,
        "load_s": round(result.load_s, 1),
        "verdict": "violation" if stories else "ok",
        "violations": stories,
        "faults": result.faults,
        "loads": result.figures,
        "acknowledged_writes": {
            "keys and values": sum(one.is_write and one.is_ok for one in history.operations),
            "scanned keys": sum(one.is_ok for one in history.scan_writes),
            "registers": sum(one.is_change and one.outcome == "ok" for one in history.registers),
            "counters, sets, maps": sum(one.kind != "get" and one.outcome == "ok" for one in history.merging),
        },
        "lost": sum(violation.property == "C1" for violation in result.violations),
        "keys": result.keys,
        "converged_s": result.converged_s,
        "tracebacks": result.tracebacks,
        "porcupine": porcupine.told if porcupine else "not asked: no registers",
    }


def _lines(run: dict[str, Any]) -> list[str]:
    """The document in sentences."""
    took = "never" if run["converged_s"] is None else f"{run['converged_s']:.1f} s after the last fault"
    acknowledged = run["acknowledged_writes"]
    return [
        f"seed {run['seed']}, {run['nodes']} node processes, {run['rounds']} rounds in {run['load_s']} s",
        f"faults fired        {sum(run['faults'].values())}: {_counts(run['faults'])}",
        *(f"{name:<20}{_counts(figures)}" for name, figures in run["loads"].items()),
        f"acknowledged writes {sum(acknowledged.values()):,}: {_counts(acknowledged)}",
        f"lost                {run['lost']}",
        f"hints delivered     {took}; {run['keys']:,} keys looked at in all their owners",
        f"tracebacks in logs  {run['tracebacks']}",
        f"Porcupine           {run['porcupine']}",
        f"verdict             {run['verdict']}, {len(run['violations'])} violations",
        *(f"    {story}" for story in run["violations"][:TOLD]),
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20, help=f"1 to {MOST_ROUNDS}  [20]")
    parser.add_argument("--seed", type=int, default=1, help="seed of workload and faults  [1]")
    parser.add_argument("--nodes", type=int, default=5, help="number of node processes, 3 or more  [5]")
    parser.add_argument("--loads", default=",".join(LOADS), help="of these, by commas  [all]")
    parser.add_argument("--crowd", type=int, default=1, help="times the usual number of clients  [1]")
    parser.add_argument("--registers", default="", help="where the history of registers goes  [nowhere]")
    parser.add_argument(
        "--download", action="store_true", help="get the Go module of Porcupine, if it is not here"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document in the end, too")
    parser.add_argument(
        "--unsynced", type=int, default=0,
        help="bytes at the end of its log that each killed node loses, as if it had acknowledged before "
        "its disk had them; that must be found  [0]",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
