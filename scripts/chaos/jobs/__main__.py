"""Jobs under faults on real processes, each compared with the same job in one process.

    python scripts/chaos/jobs --runs 50 --seed 7 [--mib 2,4,8] [--only words,sort_batch] [--faults KIND,...]

Five nodes.  Each run draws one of the six jobs in one of its styles (job_shapes.py), a size, and a fault on
its way (job_faults.py): a killed task, step, node or coordinator, a paused one, a damaged or lost file of the
shuffle, a file that may not grow.  Requests for objects, registers and counters go on beside all of it.  Exit
0 when every job has succeeded with the files and counts of `run_local`, byte by byte, and has left nothing
beside them, no judge of the requests objects, and no node has written a traceback; 1 when not, and data and
logs are kept.  The last line is the whole result as JSON.

A fault may come to nothing, as the job may be over first; how often each has fired, and how often the job had
to do something about it, is told.  One that comes to nothing in four runs, and each time, was not tried, and
the exit code is 1.  With `--unchecked` nodes take every slice of the shuffle for what its map
has committed: `--unchecked --faults shuffle_changed --only words` has to end with 1.  Times are told, and
nothing is judged by them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "scripts" / "bench")]

from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from chaos.jobs.job_faults import JOB_FAULTS, LEFT_OUT  # noqa: E402
from chaos.jobs.job_series import JobSeries, drawn_runs, make_references  # noqa: E402
from chaos.jobs.job_shapes import shapes_of  # noqa: E402

__all__ = ["main"]

MOST_RUNS: Final = 1000
MOST_MIB: Final = 1024
NODES: Final = 5
UNCHECKED: Final = Path(__file__).resolve().parent / "unchecked"


def main() -> int:
    parser = _parser()
    given = parser.parse_args()
    if not 1 <= given.runs <= MOST_RUNS:
        parser.error(f"--runs {given.runs}: 1 to {MOST_RUNS}")
    sizes = [int(each) if each.isdecimal() else 0 for each in given.mib.split(",")]
    if not all(1 <= each <= MOST_MIB for each in sizes):
        parser.error(f"--mib {given.mib}: numbers from 1 to {MOST_MIB}, with commas between them")
    faults = given.faults.split(",") if given.faults else list(JOB_FAULTS)
    if unknown := [each for each in faults if each not in JOB_FAULTS]:
        parser.error(f"there is no fault {unknown[0]!r}; there are: {', '.join(JOB_FAULTS)}")
    try:
        shapes = shapes_of(given.only.split(",") if given.only else [])
        runs = drawn_runs(given.seed, given.runs, shapes, sizes, faults)
    except ValueError as error:
        parser.error(str(error))
    os.environ["RINGMILL_HOST_SLOTS"] = str(NODES)  # each has a slot, however few cores the machine has
    if given.unchecked:
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(UNCHECKED), os.environ.get("PYTHONPATH")))
        )

    print(f"seed {given.seed}, {NODES} node processes, {given.runs} runs", flush=True)
    for kind, why in LEFT_OUT.items():
        print(f"left out: {kind}: {why}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ringmill-jobs-references-") as folder:
        references = make_references(runs, Path(folder), _tell)
        return judge_on_cluster(
            "jobs",
            nodes=NODES,
            lowest_port=19800,
            run_and_judge=lambda cluster: _run_and_judge(
                JobSeries(cluster, given.seed, runs, references, _tell)
            ),
        )


def _run_and_judge(series: JobSeries) -> bool:
    asyncio.run(series.go())
    document = series.document()
    print("\n".join(_lines(document)))
    print(json.dumps(document), flush=True)
    return series.has_held


def _tell(line: str) -> None:
    print(line, flush=True)


def _lines(run: dict[str, Any]) -> list[str]:
    """The document in sentences."""
    faults = [
        f"{kind} {each['fired']}/{each['drawn']} ({each['felt']} felt)"
        for kind, each in run["faults"].items()
    ]
    never = ", ".join(run["never_fired"])
    return [
        f"seed {run['seed']}, {run['nodes']} node processes, {run['runs']} runs in {run['seconds']:.0f} s",
        f"outputs equal       {run['equal']} of {run['runs']}",
        f"faults fired        {', '.join(faults)}",
        *([f"never fired         {never}"] if never else []),
        *(f"{name:<20}{looked_at}" for name, looked_at in run["load"].items()),
        f"verdict             {run['verdict']}",
        *(f"    {story}" for story in run["troubles"]),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=10, help=f"1 to {MOST_RUNS}  [10]")
    parser.add_argument("--seed", type=int, default=1, help="seed of jobs, sizes, faults and moments  [1]")
    parser.add_argument("--mib", default="2,4,8", metavar="N,...", help="sizes of inputs to draw  [2,4,8]")
    parser.add_argument(
        "--only", default="", metavar="JOB,...", help="of the jobs, or of their styles  [all]"
    )
    parser.add_argument("--faults", default="", metavar="KIND,...", help="of these faults  [all]")
    parser.add_argument(
        "--unchecked", action="store_true",
        help="nodes compare no checksum of what reduces fetch, which has to be found",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
