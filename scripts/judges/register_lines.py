"""Judges histories of registers: one call a line, as JSON, judged by C7 and by Porcupine.

    python scripts/judges/register_lines.py [--download] HISTORY

Exit 0: both find it linearizable; 1: one does not; 77: C7 does, and Porcupine could not be asked.  It needs
Go, and its module: --download gets that once from the Go module proxy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from ringmill.client.checked.register_calls import RegisterCall  # noqa: E402
from ringmill.simulator.subjects.registers.checkers import check_registers  # noqa: E402

__all__ = ["Verdict", "judge", "judge_c7", "judge_porcupine", "read_lines", "write_lines"]

BINARY_FIELDS = ("key", "value", "expect", "shown")
PORCUPINE = Path(__file__).resolve().parent / "porcupine"
LIMIT_S = 600.0
NOT_JUDGED = 77
_NO_MODULE = "module lookup disabled by GOPROXY=off"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`stories` tell what cannot be; without any it held, unless `could_judge` is False."""

    judge: str
    told: str
    stories: Sequence[str] = ()
    could_judge: bool = True


def write_lines(calls: Sequence[RegisterCall], path: Path) -> None:
    """Bytes become text; those of the workload are ASCII."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for call in calls:
            fields = dataclasses.asdict(call)
            for name in BINARY_FIELDS:
                if fields[name] is not None:
                    fields[name] = fields[name].decode("ascii")
            file.write(json.dumps(fields, separators=(",", ":")) + "\n")


def read_lines(path: Path) -> list[RegisterCall]:
    calls = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields: dict[str, Any] = json.loads(line)
        for name in BINARY_FIELDS:
            if fields[name] is not None:
                fields[name] = fields[name].encode("ascii")
        calls.append(RegisterCall(**fields))
    return calls


def judge(path: Path, *, download: bool = False) -> list[Verdict]:
    return [judge_c7(path), judge_porcupine(path, download=download)]


def judge_c7(path: Path) -> Verdict:
    began = time.monotonic()
    stories = [f"{each.key.decode()}: {each.story}" for each in check_registers(read_lines(path))]
    told = f"{len(stories)} violations" if stories else "linearizable, each change counted once"
    return Verdict("C7", f"{told} ({time.monotonic() - began:.1f} s)", stories)


def judge_porcupine(path: Path, *, download: bool = False) -> Verdict:
    """Ask Porcupine, if Go is here and the module was downloaded before or may be now.

    RuntimeError when its program ends without a verdict: that is no missing tool.
    """
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return Verdict("Porcupine", "not asked: Go is not installed", could_judge=False)
    environment = {**os.environ, **({} if download else {"GOPROXY": "off", "GOTOOLCHAIN": "local"})}
    began = time.monotonic()
    ended = subprocess.run(
        [go, "run", ".", str(path.resolve())],
        cwd=PORCUPINE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    took = f"({time.monotonic() - began:.1f} s)"
    out = ended.stdout.splitlines()
    if not out or out[-1] not in ("linearizable", "not linearizable"):
        if _NO_MODULE in ended.stderr:
            told = "not asked: its module is not here, and --download was not given"
            return Verdict("Porcupine", told, could_judge=False)
        raise RuntimeError(
            f"Porcupine ended without a verdict: {ended.stderr.strip() or ended.stdout.strip()}"
        )
    stories = out[:-1] if out[-1] != "linearizable" else []
    return Verdict("Porcupine", f"{out[-1]} {took}", stories or ([out[-1]] if ended.returncode else []))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("history", type=Path)
    parser.add_argument("--download", action="store_true", help="get what Porcupine needs, if it is not here")
    given = parser.parse_args()
    verdicts = judge(given.history, download=given.download)
    for verdict in verdicts:
        print(f"{verdict.judge:13} {verdict.told}", *verdict.stories[:10], sep="\n    ")
    if any(verdict.stories for verdict in verdicts):
        return 1
    return 0 if all(verdict.could_judge for verdict in verdicts) else NOT_JUDGED


if __name__ == "__main__":
    raise SystemExit(main())
