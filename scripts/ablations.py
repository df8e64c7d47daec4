"""Switch each safeguard off and count the seeds until a checker misses it; write the table into the docs.

    python scripts/ablations.py [--most 1000] [--only NAME ...] [--write]

Every safeguard has to be missed within 1,000 seeds, half of them within 100: exit code 1 when not.  The table
stands in docs/testing.md between two marks; without --write it is only printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from simulator.ablations import ABLATIONS, ablation_named  # noqa: E402
from simulator.bending import Ablation  # noqa: E402
from simulator.options import RunOptions  # noqa: E402
from simulator.run import run_seed  # noqa: E402

PAGE = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- ablations: begin -->", "<!-- ablations: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=1000, help="give up after so many seeds")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/testing.md")
    given = parser.parse_args(arguments)
    chosen = [ablation_named(name) for name in given.only] or list(ABLATIONS)
    with multiprocessing.get_context("spawn").Pool(given.processes, maxtasksperchild=1) as pool:
        found = pool.starmap(seeds_until_missed, [(each.name, given.most) for each in chosen], chunksize=1)
    text = table(list(zip(chosen, found, strict=True)), given.most)
    print(text)
    if given.write:
        write(text)
    missed = [seeds for seeds, _ in found if seeds is not None]
    return 0 if len(missed) == len(found) and median(missed) < 100 else 1


def seeds_until_missed(name: str, most: int) -> tuple[int | None, str]:
    """How many seeds it took and what broke; None when `most` did not show it."""
    for seed in range(1, most + 1):
        result = run_seed(seed, RunOptions(safeguards_off=(name,)))
        if result.violations:
            print(f"{name}: {seed}, {result.violations[0]}", file=sys.stderr, flush=True)
            return seed, result.violations[0].property
    print(f"{name}: not missed in {most} seeds", file=sys.stderr, flush=True)
    return None, ""


def table(rows: Sequence[tuple[Ablation, tuple[int | None, str]]], most: int) -> str:
    lines = ["| switched off | the safeguard | seeds until red | what breaks |", "|---|---|---|---|"]
    for ablation, (seeds, broken) in rows:
        told = f"none in {most:,}" if seeds is None else f"{seeds:,}"
        lines.append(f"| `{ablation.name}` | {ablation.rule} | {told} | {broken or '-'} |")
    missed = [seeds for _, (seeds, _) in rows if seeds is not None]
    lines.append("")
    lines.append(f"{len(missed)} of {len(rows)} are missed; median {median(missed):g} seeds.")
    return "\n".join(lines)


def write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
