"""The test-suites of fakeredis and redis-py against a gateway and nodes of its own.

    .venv/bin/python scripts/compat/redis_suites.py [--only NAME] [--examples 100] [--write]

Both suites come from their source distributions, at pinned versions (suites/suite_sources.py), and lie under
build/compat/.  Each test is sorted (suites/suite_table.py): passed; refused on purpose, by an error that
docs/redis.md announces; failed.  Of fakeredis these are the tests that ask a real server, and its Hypothesis
machines, which send the same random commands to the server and to fakeredis and compare the answers.  Of
redis-py these are the tests of commands, encodings, pipelines and locks.

What came of a run stays in build/compat/outcomes/, and --write puts the table of all runs into
docs/redis-suites.md.  The exit code is 1 when less than 95 % of the tests that are not refused pass, and when
a part was not run to its end: what its other tests would have shown is in no column, so nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

from suites.suite_sources import SUITES, environment_python, unpacked
from suites.suite_table import as_table, share_passed

from doors.local_gateway import redis_gateway
from local_cluster import ROOT, BenchCluster

FOLDER = ROOT / "build" / "compat"
PAGE = ROOT / "docs" / "redis-suites.md"
BEGIN, END = "<!-- made by scripts/compat/redis_suites.py: begin -->", "<!-- end -->"
DATABASES = (0, 1, 2, 3, 9)  # those that the suites use
GOAL = 0.95
WHOLE = (0, 1, 5)  # exit codes of pytest: all passed, some failed, no test was chosen
MACHINES = ("c-l", "s", "t-z")  # their first letters, by part
STANDALONE = "not onlycluster and not redismod and not ssl and not replica and not cp_integration"


@dataclass(frozen=True, slots=True)
class Run:
    """Some tests of one suite.  Each part has a process and a cluster of its own."""

    name: str
    suite: str
    parts: Sequence[Sequence[str]]
    options: Sequence[str] = ()
    chosen: str = ""
    """As pytest's -k."""

    def file(self, part: int) -> Path:
        """Where it is written what came of the tests of a part."""
        return FOLDER / "outcomes" / f"{self.name.replace(' ', '-')}-{part + 1}.jsonl"

    def cut(self, part: int) -> Path:
        """There until the tests of a part have all been run."""
        return self.file(part).with_suffix(".cut")


def redis_py(name: str, folder: str, protocol: int) -> Run:
    parts = [
        [f"{folder}/test_commands.py"],
        [f"{folder}/test_{each}.py" for each in ("encoding", "pipeline", "lock")],
    ]
    return Run(name, "redis", parts, ["-m", STANDALONE, "--protocol", str(protocol), "-o", "addopts="])


def fakeredis(name: str, variants: str) -> Run:
    parts = [
        ["test/test_mixins/test_[a-g]*.py"],
        ["test/test_mixins/test_[h-r]*.py", "test/test_mixins/test_s[ce]*.py"],
        ["test/test_mixins/test_s[ot]*.py", "test/test_mixins/test_[t-z]*.py"],
        ["test/test_mixins/test_specific_redis_versions", "test/test_async"],
    ]
    return Run(name, "fakeredis", parts, ["-m", "real"], variants)


RUNS = (
    fakeredis("fakeredis RESP2", "Strict2 or real_resp2"),
    fakeredis("fakeredis RESP3", "Strict3 or real_resp3"),
    Run(
        "fakeredis Hypothesis",
        "fakeredis",
        [[f"test/test_hypothesis/test_[{each}]*.py"] for each in MACHINES],
    ),
    redis_py("redis-py RESP2", "tests", 2),
    redis_py("redis-py RESP3", "tests", 3),
    redis_py("redis-py asyncio", "tests/test_asyncio", 3),
)


def carry_out(run: Run, part: int, python: Path, examples: int, chosen: str) -> None:
    """Run the tests of a part before a fresh cluster, and leave what came of them in its file."""
    file = run.file(part)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    run.cut(part).touch()
    with BenchCluster(nodes=3, options=["--partitions", "16"]) as cluster:
        for number in DATABASES:
            cluster.command("keyspace", "create", f"redis{number}", "--kind", "registers")
            cluster.command("keyspace", "create", f"redis{number}-keys")
        with redis_gateway(cluster) as server:
            place = unpacked(FOLDER, python, run.suite, str(server.port))
            line = [str(python), "-m", "pytest", "-q", "--tb=line", "--timeout", "120"]
            line += ["-p", "suite_outcomes", "-p", "no:cacheprovider", *run.options]
            line += [str(path) for pattern in run.parts[part] for path in sorted(place.glob(pattern))]
            line += ["-k", " and ".join(f"({each})" for each in (run.chosen, chosen) if each)]
            if run.suite == "redis":
                line += ["--redis-url", f"redis://localhost:{server.port}/0"]
            environment = {
                **os.environ,
                "PYTHONPATH": str(Path(__file__).resolve().parent / "suites"),
                "RINGMILL_OUTCOMES": str(file),
                "RINGMILL_DOOR_PORT": str(server.port),
                "FAKEREDIS_HYPOTHESIS_EXAMPLES": str(examples),
            }
            ended = subprocess.run(line, cwd=place, env=environment, check=False)
    if ended.returncode in WHOLE:
        run.cut(part).unlink()


def cut_parts() -> list[str]:
    """The parts that have been begun and were not run to their end."""
    return [
        f"{run.name} {part + 1}" for run in RUNS for part in range(len(run.parts)) if run.cut(part).exists()
    ]


def outcomes() -> dict[str, list[dict[str, Any]]]:
    """The outcomes of all runs that have been carried out, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in RUNS:
        for file in (run.file(part) for part in range(len(run.parts))):
            if file.exists():
                lines = file.read_text(encoding="utf-8").splitlines()
                found.setdefault(run.name, []).extend(json.loads(line) for line in lines)
    return found


def write_page(lines: Sequence[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, behind = rest.partition(END)
    PAGE.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + behind, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--only",
        default="",
        help="parts whose name, as in `fakeredis RESP2 1`, has this in it; none: the table alone",
    )
    parser.add_argument("--tests", default="", help="of these runs only the tests that pytest's -k chooses")
    parser.add_argument("--examples", type=int, default=100, help="of each Hypothesis machine")
    parser.add_argument("--write", action="store_true", help=f"the table into docs/{PAGE.name}")
    given = parser.parse_args()
    python = environment_python(FOLDER)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster ends with this process
    for run in RUNS:
        for part in range(len(run.parts)):
            if given.only in f"{run.name} {part + 1}" and given.only != "none":
                carry_out(run, part, python, given.examples, given.tests)
    found = outcomes()
    versions = ", ".join(f"{name} {version}" for name, version in SUITES.items())
    lines = [f"{versions}; three nodes.", "", *as_table(found)]
    print("\n".join(lines))
    if cut := cut_parts():
        print(f"not run to the end, and to be run again: {', '.join(cut)}", file=sys.stderr)
        return 1
    if given.write:
        write_page(lines)
    return int(share_passed(found) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
