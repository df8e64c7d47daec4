"""Switch each safeguard off and count the seeds until a run turns red; write the tables into the docs.

    python scripts/ablations.py [--most 1000] [--minutes M] [--only NAME ...] [--write]

Exit code 1 unless each safeguard turns some seed of 1,000 red, and half of them one of 100.  Seeds start at 1
for each.  A run that ends with an error ends the search for its safeguard only.  The tables stand in
docs/testing.md between two marks; without --write they are only printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ringmill.simulator.checkers.violation import Violation  # noqa: E402
from ringmill.simulator.options import SimulationOptions, usual_options  # noqa: E402
from ringmill.simulator.patching import Ablation  # noqa: E402
from ringmill.simulator.run import run_seed  # noqa: E402
from ringmill.simulator.subjects.every import SUBJECTS, ablation_named  # noqa: E402

PAGE: Final = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- ablations: begin -->", "<!-- ablations: end -->"
_TELL_EVERY: Final = 50
_HEAD: Final = (
    "| switched off | the safeguard | rules | under | seeds until red | what breaks |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Found:
    """How many seeds it took and what broke first; `seeds` None when `tried` did not show it."""

    name: str
    tried: int
    seeds: int | None = None
    broken: str = ""
    error: str = ""  # that ended the search early


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=1000, help="give up after this number of seeds")
    parser.add_argument("--minutes", type=float, default=1e6, help="give up on each ablation after this time")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/testing.md")
    given = parser.parse_args(arguments)
    if given.write and given.only:
        parser.error("--write takes the whole list, as the tables are of one run")
    every = [each for subject in SUBJECTS for each in subject.ablations]
    chosen = [ablation_named(name) for name in given.only] or every
    found = search([each.name for each in chosen], given.most, given.minutes, given.processes)
    text = tables(found)
    print(text)
    if given.write:
        write(text)
    red = [each.seeds for each in found.values() if each.seeds is not None]
    return 0 if len(red) == len(found) and median(red) < 100 else 1


def search(names: Sequence[str], most: int, minutes: float, processes: int) -> dict[str, Found]:
    """Search for a red seed without each safeguard; report each result as it comes."""
    found: dict[str, Found] = {}
    with ThreadPoolExecutor(processes) as threads:
        searches = [threads.submit(_in_own_process, (name, most, minutes)) for name in names]
        for ended in as_completed(searches):
            each = ended.result()
            found[each.name] = each
            print(f"[{len(found)}/{len(names)}] {each.name}: {_outcome(each)}", file=sys.stderr, flush=True)
    return {name: found[name] for name in names}


def _in_own_process(work: tuple[str, int, float]) -> Found:
    """Search in a new process: it leaves no safeguard off for the next, and one that is killed is noticed."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        try:
            return own.submit(_search_one, work).result()
        except BrokenProcessPool:
            return Found(work[0], 0, error="its process was ended from outside")


def _search_one(work: tuple[str, int, float]) -> Found:
    name, most, minutes = work
    until = time.monotonic() + 60 * minutes
    for seed in range(1, most + 1):
        try:
            violations = violations_without(ablation_named(name), seed)
        except Exception as error:  # noqa: BLE001 - of a run, not of the safeguard: the others are searched
            traceback.print_exc()
            return Found(name, seed, error=f"{type(error).__name__} at seed {seed}")
        if violations:
            print(f"{name}: seed {seed}, {violations[0]}", file=sys.stderr, flush=True)
            return Found(name, most, seed, violations[0].property)
        if seed % _TELL_EVERY == 0:
            print(f"{name}: no seed of {seed} is red yet", file=sys.stderr, flush=True)
        if time.monotonic() > until:
            return Found(name, seed)
    return Found(name, most)


def violations_without(ablation: Ablation, seed: int) -> Sequence[Violation]:
    """What a run of a seed shows without a safeguard, under the options that its definition names."""
    options = replace(ablation.under or _usual(ablation), safeguards_off=(ablation.name,))
    return run_seed(seed, options).violations


def tables(found: dict[str, Found]) -> str:
    parts = []
    for subject in SUBJECTS:
        rows = [_row(each, found[each.name]) for each in subject.ablations if each.name in found]
        if rows:
            parts.append("\n".join([f"{subject.title}:", "", _HEAD, *rows, ""]))
    red = [each.seeds for each in found.values() if each.seeds is not None]
    middle = f"; median {median(red):g} seeds" if red else ""
    parts.append(f"{len(red)} of {len(found)} turned some seed red{middle}.")
    return "\n".join(parts)


def _row(ablation: Ablation, found: Found) -> str:
    rules, under, broken = ", ".join(ablation.rules), _under(ablation), found.broken or "-"
    return f"| `{ablation.name}` | {ablation.safeguard} | {rules} | {under} | {_outcome(found)} | {broken} |"


def _outcome(found: Found) -> str:
    if found.error:
        return found.error
    return f"none in {found.tried:,}" if found.seeds is None else f"{found.seeds:,}"


def _under(ablation: Ablation) -> str:
    """In what the options of its runs differ from those of any run."""
    options = ablation.under or _usual(ablation)
    usual = usual_options(options.subjects)
    differences = (
        [f"subjects {', '.join(options.subjects)}"] if options.subjects != _usual(ablation).subjects else []
    )
    for name in (field.name for field in fields(SimulationOptions) if field.name != "subjects"):
        value = getattr(options, name)
        if value != getattr(usual, name):
            words = ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
            differences.append(f"{name} {words}")
    return "; ".join(differences)


def _usual(ablation: Ablation) -> SimulationOptions:
    """What runs of the safeguard's subject are made of."""
    return usual_options(next((each.name,) for each in SUBJECTS if ablation in each.ablations))


def write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
