"""Compares files, byte by byte, and counts of a job with those of the same job in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ringmill.cluster.mapreduce.local.in_process import LocalResult
from ringmill.cluster.mapreduce.outputs import staging_folder

__all__ = ["differing", "differing_counts", "hidden_beside"]


def differing(reference: Path, output: Path) -> str:
    """How the output of a job differs from that of `run_local`; "" when they are the same files."""
    wanted, found = _names(reference), _names(output)
    parts = {name for name in wanted if _is_part(name)}
    if not parts:
        return "one process has left no part"
    if parts != {name for name in found if _is_part(name)}:
        return "its parts are others than those of one process"
    if wanted != found:
        return f"only one of both has {', '.join(sorted(wanted ^ found))}"
    wrong = [
        name for name in sorted(wanted) if (reference / name).read_bytes() != (output / name).read_bytes()
    ]
    return f"{', '.join(wrong)} differ from those of one process" if wrong else ""


def differing_counts(reference: LocalResult, records: Mapping[str, int], counters: Mapping[str, int]) -> str:
    """How these totals of a job differ from those of `run_local`; "" when they are the same."""
    return "; ".join(
        f"{name} is {found.get(name, 0)}, in one process {wanted.get(name, 0)}"
        for found, wanted in ((records, reference.records), (counters, reference.counters))
        for name in sorted(wanted.keys() | found.keys())
        if found.get(name, 0) != wanted.get(name, 0)
    )


def hidden_beside(output: Path) -> list[Path]:
    """The folders in which attempts of a job have worked for this output; none is left when it is over."""
    return sorted(output.parent.glob(Path(staging_folder(str(output), "*")).name))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _is_part(name: str) -> bool:
    return name.startswith("part-")
