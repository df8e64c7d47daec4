"""Fuzzing the readers of logs, tables and manifests with atheris, where it is installed.

    python scripts/chaos/fuzz.py log|table|manifest [--seconds 60]

atheris looks for inputs that reach new code; it is no dependency of anything (`pip install atheris`).  An
input is a way, a file id, and either a whole file or the parts that right checksums are put around.  It
starts from the files of a small folder.  Prints what libFuzzer prints; exits with 77 where there is no
atheris, with another code than 0 when a reader raised what it does not document, took more than 10 s for
one file or more than 1 GiB.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

SKIPPED = 77
RAW, PARTS = b"\0", b"\1"
LENGTH_BYTES = 2

try:
    atheris = importlib.import_module("atheris")
except ImportError:
    print("skipped: atheris is not installed here (pip install atheris)")
    sys.exit(SKIPPED)

with atheris.instrument_imports(include=["ringmill.node.storage"]):
    from ringmill.node.storage.names import FileName, parse_name
    from ringmill.simulator.disk.damage import sample_folder
    from ringmill.simulator.disk.lossy import LossyDisk
    from ringmill.simulator.disk.moment import CrashModel
    from ringmill.simulator.disk.readers import KINDS, assemble, parts_of, read_to_end


def read_input(kind: str, data: bytes) -> None:
    """Read the file that an input stands for."""
    name = FileName(kind, data[1] if len(data) > 1 else 0)
    if data[:1] == RAW:
        read_to_end(name, data[2:])
        return
    parts, at = [], 2
    while at < len(data):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        parts.append(data[start:at])
    read_to_end(name, assemble(name, parts + [b""] * max(0, 4 - len(parts))))


def write_seeds(kind: str, corpus: Path) -> int:
    """One input for each file of a small folder and way to read it."""
    sample = asyncio.run(sample_folder(1, 3000))
    disk = LossyDisk.after(sample.moment.crash(CrashModel.PREFIX, Random(0)))
    count = 0
    for path, _ in sample.files:
        name = parse_name(path.rpartition("/")[2])
        if name is None or name.kind != kind:
            continue
        whole, file_id = disk.read_bytes(path), bytes([name.file_id])
        parts = [len(part).to_bytes(LENGTH_BYTES, "little") + part for part in parts_of(name, whole)]
        (corpus / f"{name.file_id}-raw").write_bytes(RAW + file_id + whole)
        (corpus / f"{name.file_id}-parts").write_bytes(PARTS + file_id + b"".join(parts))
        count += 2
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{chosen.kind}-"))
    print(f"{write_seeds(chosen.kind, corpus)} seeds in {corpus}", flush=True)
    limits = [f"-max_total_time={chosen.seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=8192"]
    crashes = f"-artifact_prefix={corpus}/"
    atheris.Setup([sys.argv[0], *limits, crashes, str(corpus)], lambda data: read_input(chosen.kind, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
