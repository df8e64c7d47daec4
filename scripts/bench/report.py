"""What every benchmark prints and writes: machine, versions, settings, a table, and the same as JSON.

    report = Report("kv", settings={"nodes": 5})       # `from report import Report`: scripts run as files
    report.row("put", in_flight=64, per_s=12_345.6, p99_ms=9.1)
    report.finish()                                    # table on stdout, JSON to build/bench/kv.json

It measures nothing itself.  Numbers are kept as they are in JSON and rounded to three digits in the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "arguments", "machine", "percentile", "shown"]

Cell = str | int | float | bool | None
WIDTH = 180  # of a table that is piped: nothing is cut
PACKAGES = ("ringmill", "grpcio", "uvloop", "msgpack", "xxhash", "zstandard", "lz4", "google-crc32c")


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share: `--json PATH` and `--quick`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", default=f"build/bench/{name}.json", help="file for the figures")
    parser.add_argument("--quick", action="store_true", help="do a tenth of the work, to see that it runs")
    return parser


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` (0 to 1) of them do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Report:
    """The figures of one run of one benchmark."""

    name: str
    settings: Mapping[str, Cell]
    json_path: str | None = None
    packages: Sequence[str] = ()
    rows: list[dict[str, Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[Mapping[str, object]] = field(default_factory=list)  # for the JSON alone
    started: float = field(default_factory=time.time)

    def row(self, case: str, **figures: Cell) -> None:
        """One line of the table; names carry their unit (`per_s`, `p99_ms`, `peak_bytes`)."""
        self.rows.append({"case": case, **figures})
        told = ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
        print(f"{case}: {told}", file=sys.stderr, flush=True)  # long work shows how far it is

    def note(self, text: str) -> None:
        """A sentence under the table: a goal beside its figure, what was skipped and why."""
        self.notes.append(text)

    def goal(self, what: str, measured: float, goal: float, unit: str, *, is_least: bool = False) -> None:
        """A figure beside the most it should be, or the least; missing it is said, and fails nothing."""
        verdict = "met" if (measured >= goal if is_least else measured <= goal) else "missed"
        bound = "at least" if is_least else "at most"
        self.note(f"goal {verdict}: {what} {measured:.3g} {unit}, {bound} {goal:g} {unit}")

    def finish(self) -> None:
        """Print everything and write the JSON."""
        target = Path(self.json_path or f"build/bench/{self.name}.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self._document(), indent=2) + "\n", encoding="utf-8")
        console = Console()
        console.width = max(console.width, WIDTH)
        for key, value in self._header().items():
            console.print(f"{key:>9}  {value}", highlight=False, soft_wrap=True)
        console.print(self._table())
        for text in self.notes:
            console.print(text, highlight=False)
        console.print(f"written to {target}", highlight=False)

    def _document(self) -> dict[str, object]:
        return {
            "benchmark": self.name,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started, 3),
            "machine": machine(),
            "versions": versions(self.packages),
            "settings": dict(self.settings),
            "rows": self.rows,
            "notes": self.notes,
            **({"details": self.details} if self.details else {}),
        }

    def _header(self) -> dict[str, str]:
        return {
            "benchmark": self.name,
            "machine": ", ".join(str(value) for value in machine().values()),
            "versions": ", ".join(f"{name} {version}" for name, version in versions(self.packages).items()),
            "settings": ", ".join(f"{name} {value}" for name, value in self.settings.items()),
        }

    def _table(self) -> Table:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        table = Table(*columns)
        for number, name in enumerate(columns):
            table.columns[number].justify = "left" if name == "case" else "right"
        for row in self.rows:
            table.add_row(*(shown(row.get(name)) for name in columns))
        return table


def machine() -> dict[str, str]:
    """Processor, cores that this process may use, memory and system, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    return {
        "processor": _processor(),
        "cores": f"{cores} cores",
        "memory": f"{memory:.0f} GiB",
        "system": system,
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def shown(value: Cell) -> str:
    """A figure as people read it: three digits, thousands apart."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value or "")
