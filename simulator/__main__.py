"""`python -m simulator`, which `ringmill simulate` becomes: run a cluster from a seed and judge it.

Exit codes: 0 every promise held, 1 one was broken, 2 a bad argument.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from cluster.errors import InvalidArgument
from simulator.ablations import ablation_named
from simulator.campaign import Summary, run_seeds
from simulator.faults import KINDS
from simulator.options import RunOptions
from simulator.report import as_document, as_text, failure_text, to_json
from simulator.run import RunResult, run_seed
from simulator.shrink import shrink
from simulator.timeline import timeline_html

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        options = _options(given)
    except InvalidArgument as error:
        parser.error(error.message)
    return _many(given, options) if given.seeds > 1 else _one(given, options)


def _one(given: argparse.Namespace, options: RunOptions) -> int:
    _bar(0, 1)
    result = run_seed(given.seed, options, story=bool(given.trace or given.html))
    _bar(1, 1)
    _write(given.trace, "\n".join(result.story) + "\n")
    _write(given.html, timeline_html(result))
    if given.history:
        _write(given.history, "\n".join(result.history.to_lines()) + "\n")
    if result.violations and not given.no_shrink:
        print(f"seed {given.seed} breaks {result.violations[0].property}; shrinking …", file=sys.stderr)
        result = shrink(result).result
    _print(given, result)
    return 0 if result.is_ok else 1


def _many(given: argparse.Namespace, options: RunOptions) -> int:
    summary = Summary()
    seeds = range(given.seed, given.seed + given.seeds)
    for result in run_seeds(seeds, options, processes=given.processes):
        summary.add(result)
        _bar(summary.seeds, given.seeds)
        if result.violations:
            print(f"seed {result.seed}: {result.violations[0]}", file=sys.stderr)
    if given.output == "json":
        print(to_json({
            "verdict": "violation" if summary.failed else "ok",
            "seeds": summary.seeds,
            "ops": summary.operations,
            "virtual_s": round(summary.virtual_s, 3),
            "faults": dict(sorted(summary.faults.items())),
            "failed": {str(seed): story for seed, story in summary.failed.items()},
        }))  # fmt: skip
    else:
        print(summary.text())
    return 1 if summary.failed else 0


def _print(given: argparse.Namespace, result: RunResult) -> None:
    if given.output == "json":
        print(to_json(as_document(result)))
        return
    print(as_text(result))
    if result.violations:
        print(failure_text(result))


def _bar(done: int, all_of_it: int) -> None:
    """A progress bar on a terminal, a line now and then when piped."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        filled = 30 * done // all_of_it
        end = "\n" if done == all_of_it else ""
        bar = "#" * filled + "." * (30 - filled)
        print(f"\rsimulating [{bar}] {done}/{all_of_it}", end=end, file=sys.stderr, flush=True)
    elif all_of_it > 1 and done % 500 == 0:
        print(f"{done} of {all_of_it} seeds", file=sys.stderr, flush=True)


def _write(path: str, text: str) -> None:
    if path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        print(f"wrote {path}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ringmill simulate", description="Run a whole cluster in one process, from a seed, under faults."
    )
    parser.add_argument("--seed", type=int, default=1, help="what everything is drawn from (default 1)")
    parser.add_argument("--seeds", type=int, default=1, help="run so many seeds, from --seed on")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="for --seeds")
    parser.add_argument("--nodes", type=int, default=5, help="3 to 9")
    parser.add_argument("--ops", type=int, default=100, help="operations that clients ask for")
    parser.add_argument("--sessions", type=int, default=4, help="clients at once")
    parser.add_argument("--keys", type=int, default=8, help="keys they share")
    parser.add_argument("--faults", default=",".join(KINDS), help=f"kinds, or none: {', '.join(KINDS)}")
    parser.add_argument("--without", default="", metavar="NAMES", help="safeguards to switch off")
    parser.add_argument("--only-faults", metavar="INDEXES", help="of the drawn faults keep these")
    parser.add_argument("--only-ops", metavar="INDEXES", help="of the drawn operations keep these")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing run as long as it is")
    parser.add_argument("--trace", default="", metavar="FILE", help="write the story of the run")
    parser.add_argument("--html", default="", metavar="FILE", help="write a timeline as one page")
    parser.add_argument("--history", default="", metavar="FILE", help="write the history as JSON lines")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _options(given: argparse.Namespace) -> RunOptions:
    """Raises InvalidArgument."""
    for name, low, high in (("nodes", 3, 9), ("ops", 1, 100_000), ("sessions", 1, 64), ("keys", 1, 10_000)):
        if not low <= getattr(given, name) <= high:
            raise InvalidArgument(f"--{name} {getattr(given, name)}: {low} to {high}")
    kinds = tuple(_names(given.faults))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InvalidArgument(f"--faults: no kind is named {unknown[0]!r}; there are: {', '.join(KINDS)}")
    without = tuple(ablation_named(name).name for name in _names(given.without))
    plain = RunOptions(nodes=given.nodes, operations=given.ops, sessions=given.sessions, keys=given.keys)
    return replace(
        plain,
        faults=kinds,
        safeguards_off=without,
        only_faults=_indexes(given.only_faults),
        only_operations=_indexes(given.only_ops),
        longest_s=max(plain.longest_s, 0.6 * given.ops),
    )


def _names(text: str) -> list[str]:
    return [] if text in ("", "none") else text.split(",")


def _indexes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(int, _names(text)))
    except ValueError:
        raise InvalidArgument(f"{text!r}: indexes are numbers with commas between them") from None


if __name__ == "__main__":
    raise SystemExit(main())
