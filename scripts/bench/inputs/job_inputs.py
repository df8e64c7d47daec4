"""The input of each job of scripts/bench/styles, made when it is first asked for and then kept."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from inputs.tables import link_files, order_tables
from inputs.zipf import zipf_files

__all__ = ["JobInput", "input_of", "sort_files"]

FOLDER = Path(__file__).resolve().parents[3] / "build" / "bench"
ORDER_BYTES = 20
RECORD_BYTES = 100
PAGES_A_MIB = 1600
MIB = 2**20


class JobInput(NamedTuple):
    """The files of a job, and what stands for them: a pattern, or one for each of its sources."""

    files: list[Path]
    given: str | Mapping[str, str]

    @classmethod
    def of(cls, files: list[Path]) -> JobInput:
        return cls(files, f"{files[0].parent}/*{files[0].suffix}")

    @property
    def typed(self) -> tuple[str, ...]:
        """The same on the command line."""
        if isinstance(self.given, str):
            return "--input", self.given
        return tuple(word for name, path in self.given.items() for word in ("--input", f"{name}={path}"))


def input_of(name: str, mib: int) -> JobInput:
    """The input of the job of this name.  Sort gets records of 100 bytes, a join a quarter of the size in
    orders."""
    size = mib * MIB
    if name.startswith("sort"):
        return JobInput.of(sort_files(FOLDER / f"records-{mib}mib", size // RECORD_BYTES))
    if name.startswith("index"):
        return JobInput.of(zipf_files(FOLDER / f"zipf-{mib}mib-128", total_bytes=size, files=128))
    if name.startswith("join"):
        orders, customers = order_tables(FOLDER / f"join-{mib}mib", size // 4 // ORDER_BYTES)
        pattern = f"{orders[0].parent}/orders-*.csv"
        return JobInput([*orders, customers], {"orders": pattern, "customers": str(customers)})
    if name.startswith("pagerank"):
        return JobInput.of(link_files(FOLDER / f"links-{mib}mib", PAGES_A_MIB * mib))
    return JobInput.of(zipf_files(FOLDER / f"zipf-{mib}mib", total_bytes=size, files=8))


def sort_files(folder: Path, records: int) -> list[Path]:
    """Records of 100 bytes with random keys, in four files that are made once."""
    draw, paths = random.Random(7), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        path = folder / f"{number}.txt"
        paths.append(path)
        if not path.exists():
            lines = (f"{draw.getrandbits(64):016x}{'x' * 83}\n" for _ in range(records // 4))
            path.write_text("".join(lines))
    return paths
