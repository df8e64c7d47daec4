"""What one process makes of the jobs of a run: worked out before any safeguard is switched off.

The input is drawn from the seed, so that the cluster's shared disk and the oracle's hold the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.local.in_process import run_target
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.subjects.jobs import places_of_words
from ringmill.simulator.subjects.jobs.sessions import PlannedJob
from ringmill.simulator.world.node_process import SHARED
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tasks import SMALL_SPLITS

__all__ = ["INPUT", "Expected", "content", "expected_of", "has_many_maps", "write_file", "write_input"]

INPUT: Final = f"{SHARED}/in"
_MANY_FILES: Final = 16
_MANY_CHANCE: Final = 0.125


@dataclass(frozen=True, slots=True)
class Expected:
    """By output folder: its files, and the records and counters of the job."""

    files: Mapping[str, Mapping[str, bytes]]
    records: Mapping[str, Mapping[str, int]]
    counters: Mapping[str, Mapping[str, int]]


def expected_of(seed: int, plans: Sequence[PlannedJob]) -> Expected:
    """The expected output of each planned job of a run."""
    files, records, counters = {}, {}, {}
    for plan in plans:
        alone, output = FolderTree(), plan.spec.output
        write_input(seed, alone)
        target = getattr(places_of_words, plan.spec.name)
        if isinstance(target, JobDefinition):
            target = replace(target)  # files of two runs may look alike
        result = run_target(target, plan.spec, alone, SMALL_SPLITS)
        files[output], records[output] = content(alone, output), result.records
        counters[output] = result.counters
    return Expected(files, records, counters)


def has_many_maps(seed: int) -> bool:
    """Whether tasks are many in a run, and taken for short: orders go ahead, and maps run in stints."""
    return stream(seed, "jobs/many").random() < _MANY_CHANCE


def write_input(seed: int, shared: FolderTree) -> None:
    """Some files of words, durable."""
    draws = stream(seed, "input")
    shared.mkdir(INPUT)
    words = [f"w{number}" for number in range(7)]
    few = draws.choice((3, 4))
    for number in range(_MANY_FILES if has_many_maps(seed) else few):
        lines = "".join(" ".join(draws.choices(words, k=3)) + "\n" for _ in range(5))
        write_file(shared, f"{INPUT}/{number}.txt", lines.encode())
    for folder in (INPUT, SHARED, ""):
        shared.fsync_dir(folder)


def write_file(files: FolderTree, path: str, data: bytes) -> None:
    """A file with its bytes on the disk; its name is durable with its folder."""
    file = files.create(path)
    file.append(data)
    file.sync()
    file.close()


def content(files: FolderTree, folder: str) -> dict[str, bytes]:
    return {name: files.read_bytes(f"{folder}/{name}") for name in files.list(folder)}
