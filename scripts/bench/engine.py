"""The storage engine beside RocksDB, LevelDB, LMDB and SQLite, on the same data at the same durability.

    python scripts/bench/engine.py [--quick] [--json PATH] [--records 300000] [--rounds 3]

Each contestant runs in a process of its own, in turn, in every round; a figure is the median of its rounds.
Peak memory is that of the process without its children, beyond the workload.  A contestant that is not
installed is left out, with its reason.  "mixed" is puts and gets in turns while all tables are merged; LMDB
and SQLite have none to merge.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from report import Report, arguments

CONTESTANTS = ("ringmill", "rocksdict", "plyvel", "lmdb", "sqlite3")
GOALS = {  # at least so much of the judge's figure
    "fill": ("plyvel", 0.5),
    "get hot": ("plyvel", 0.15),
    "scan": ("plyvel", 0.08),
    "synced 64": ("rocksdict", 3.0),
}


def run_once(name: str, records: int) -> dict[str, float]:
    folder = tempfile.mkdtemp(prefix="bench-engine-")
    script = Path(__file__).with_name("engines") / "engine_contestants.py"
    try:
        done = subprocess.run(
            [sys.executable, str(script), name, f"{folder}/db", str(records)],
            stdout=subprocess.PIPE,
            check=True,
        )
    finally:
        shutil.rmtree(folder)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = arguments("engine", __doc__ or "")
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    records = chosen.records // 10 if chosen.quick else chosen.records
    present = [name for name in CONTESTANTS if importlib.util.find_spec(name) or name == "ringmill"]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in present}
    for _ in range(1 if chosen.quick else chosen.rounds):
        for name in present:
            rounds[name].append(run_once(name, records))
    report = Report(
        "engine",
        {"records": records, "rounds": len(rounds["ringmill"]), "key_bytes": 16, "value_bytes": 100},
        chosen.json,
        packages=("rocksdict", "plyvel", "lmdb"),
    )
    middle = {
        name: {case: statistics.median(run[case] for run in runs) for case in runs[0]}
        for name, runs in rounds.items()
    }
    for case in middle["ringmill"]:
        report.row(case, **{name: figures[case] for name, figures in middle.items()})
    for case, (judge, share) in GOALS.items():
        if judge in middle:
            ratio = middle["ringmill"][case] / middle[judge][case]
            report.goal(case, ratio, share, f"x {judge}'s", is_least=True)
    if "rocksdict" in middle:
        ours, theirs = (middle[name]["write_amplification"] for name in ("ringmill", "rocksdict"))
        report.goal("bytes written", ours / theirs, 1, "x rocksdict's")
    for name in CONTESTANTS:
        if name not in present:
            report.note(f"{name} is left out: it is not installed")
    report.finish()


if __name__ == "__main__":
    main()
