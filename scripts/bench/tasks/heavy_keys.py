"""What it costs a map to tell of heavy keys, and how long a reduce is that has one, by a fold and without.

    python scripts/bench/tasks/heavy_keys.py [--quick] [--words 1000000] [--rounds 9] [--json PATH]

One map and its reduces in this process, over words of which one has half of all occurrences.  Each round
runs the map with what counts heavy keys and without it, in turns.  CPU seconds of this process.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import ROOT
from report import Report, arguments
from ringmill import FileInput, FileOutput, Sum, job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES
from ringmill.cluster.mapreduce.heavy_keys import KeyWeights
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, ReduceAttempt, run_map, run_reduce
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.cluster.mapreduce.progress import Progress

FOLDER = ROOT / "build" / "bench" / "heavy-keys"
REDUCERS = 8


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def all_lines(lines: list[bytes]) -> list[bytes]:
    return lines


JOBS: dict[str, JobDefinition] = {
    "own reduce": job(map=words, reduce=total, reducers=REDUCERS),
    "Sum()": job(map=words, reduce=Sum(), reducers=REDUCERS),
    "sorted lines": job(
        map_batch=all_lines, input=FileInput("raw"), output=FileOutput("lines"), reducers=REDUCERS
    ),
}


def write_words(path: Path, count: int) -> None:
    draw = random.Random(7)
    weights = list(accumulate(1 / (rank + 1) for rank in range(50_000)))
    names = [f"word{rank}" for rank in range(50_000)]
    rest = iter(draw.choices(names, cum_weights=weights, k=count // 2))
    with path.open("w") as file:
        for _ in range(count // 20):
            file.write(" ".join(f"the {next(rest)}" for _ in range(10)) + "\n")


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


class Tasks:
    def __init__(self, definition: JobDefinition, path: Path) -> None:
        self.definition, self.files = definition, OsFileSystem()
        self.spec = JobSpec.of(
            definition, job="j", module="m", name="n", bundle_sha256="", inputs=(str(path),), output="/o"
        )
        [self.split] = plan_input(self.spec.readings, self.files, SPLIT_SIZES.pinned(1 << 30)).splits

    def map(self) -> MapOutput:
        folder = self._empty("map")
        task = MapAttempt(self.spec, self.split, 0, 1)
        return run_map(self.definition, task, self.files, folder, Progress())

    def reduce(self, mapped: MapOutput, part: int) -> None:
        folder = self._empty("reduce")
        task = ReduceAttempt(self.spec, part, (mapped.slice(part),), 1)
        run_reduce(self.definition, task, self.files, folder, Progress())

    def _empty(self, name: str) -> str:
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        (FOLDER / name).mkdir(parents=True)
        return str(FOLDER / name)


def main() -> None:
    parser = arguments("heavy_keys", "Heavy keys of a map: what telling costs, and what they do to a reduce.")
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    count, rounds = (options.words // 10, 3) if options.quick else (options.words, options.rounds)
    report = Report("heavy_keys", {"words": count, "rounds": rounds, "reducers": REDUCERS}, options.json)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_words(FOLDER / "in", count)
    counting = KeyWeights.take_lists, KeyWeights.take_records
    for name, definition in JOBS.items():
        tasks = Tasks(definition, FOLDER / "in")
        taken: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * rounds):
            counts = bool(turn % 2)
            _set(*counting) if counts else _set(_untold, _untold)
            seconds, mapped = spent(tasks.map)
            taken[counts].append(seconds)
        sizes = [part.records for part in mapped.partitions]
        reduces = sorted(spent(partial(tasks.reduce, mapped, part))[0] for part in range(REDUCERS))
        report.row(
            name,
            map_s=median(taken[True]),
            untold_s=median(taken[False]),
            ratio=median(taken[True]) / median(taken[False]),
            records=sum(sizes),
            heavy=", ".join(each.key for each in mapped.heavy),
            largest_part_of_mean=max(sizes) * REDUCERS / sum(sizes),
            longest_reduce_of_median=reduces[-1] / median(reduces),
        )
    report.finish()


def _untold(self: KeyWeights, *_: object) -> None:
    """In place of counting."""


def _set(take_lists: Any, take_records: Any) -> None:
    KeyWeights.take_lists, KeyWeights.take_records = take_lists, take_records  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
