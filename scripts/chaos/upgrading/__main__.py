"""Upgrade the nodes of a cluster one after the other, from an earlier revision to this one, under load.

    python scripts/chaos/upgrading [--from REVISION] [--nodes 3] [--warm 4] [--json FILE]

The earlier code is taken from the repository (git archive) and run with the same Python and packages; without
--from it is that of the last tag.  A cluster of it is formed, and a client of the earlier code and one of
this code put, read and count.  Then `ringmill cluster restart --rolling` of this code restarts the nodes, and
a job runs.  Exit 0 when no request of either client has failed, nothing that was acknowledged is lost, and
each node runs this code; else 1, and data and logs are kept.  Exit 2 when there is no such revision.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]

from ringmill.client.local.tcp_ports import free_base  # noqa: E402

__all__ = ["main"]

PROGRAM: Final = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"
LOAD: Final = Path(__file__).with_name("upgrade_load.py")
LOWEST_PORT: Final = 25_600
COMMAND_S: Final = 240.0
WORDS: Final = """
from collections.abc import Iterator

from ringmill import Sum, job


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


count = job(map=words, reduce=Sum())
"""


@dataclass(slots=True)
class Upgrade:
    """What came of it.  `clients` are those of the earlier code and of this one, as each has told."""

    revision: str
    nodes: int
    seconds: float = 0.0
    turns: list[str] = field(default_factory=list)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Code:
    """A folder with a revision of the product, and the home in which its commands run."""

    folder: Path
    home: Path

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("RINGMILL_")}
        return {**kept, "PYTHONPATH": str(self.folder), "HOME": str(self.home), "GRPC_VERBOSITY": "NONE"}

    def ringmill(self, *line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, *line],
            cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=COMMAND_S,
            check=False,
        )  # fmt: skip

    def load(self, prefix: str, endpoints: str, token_file: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", str(LOAD), prefix, endpoints, token_file],
            cwd=self.home, env=self.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--from", dest="revision", default="", help="earlier revision  [the last tag]")
    parser.add_argument("--nodes", type=int, default=3, help="3 to 9  [3]")
    parser.add_argument("--warm", type=float, default=4.0, help="seconds of load before and after  [4]")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    if not 3 <= given.nodes <= 9:
        parser.error(f"--nodes {given.nodes}: 3 to 9, as a majority has to answer while one is away")
    revision = given.revision or _git("describe", "--tags", "--abbrev=0")
    if not revision:
        parser.error("there is no tag: name the earlier revision, --from REVISION")
    if not _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"):
        parser.error(f"--from {revision}: no such revision in this repository")
    home = Path(tempfile.mkdtemp(prefix="ringmill-upgrade-"))
    upgrade = Upgrade(_git("log", "-1", "--format=%h of %cs", revision), given.nodes)
    old, new = Code(home / "old", home), Code(ROOT, home)
    try:
        _unpack(revision, old.folder)
        _try(upgrade, old, new, given.warm)
    finally:
        new.ringmill("cluster", "down")
    print("\n".join(_lines(upgrade)))
    if given.json:
        Path(given.json).write_text(json.dumps(asdict(upgrade), indent=1) + "\n")
    if upgrade.faults:
        print(f"data and logs are kept in {home}", file=sys.stderr)
        return 1
    shutil.rmtree(home)
    return 0


def _git(*line: str) -> str:
    """What git says; "" when it refuses."""
    done = subprocess.run(["git", "-C", str(ROOT), *line], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _unpack(revision: str, folder: Path) -> None:
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


def _try(upgrade: Upgrade, old: Code, new: Code, warm_s: float) -> None:
    base = free_base(upgrade.nodes, LOWEST_PORT)
    up = old.ringmill("cluster", "up", "--nodes", str(upgrade.nodes), "--base-port", str(base))
    if up.returncode:
        upgrade.faults.append(f"cluster up of the earlier code: {up.stderr[-1000:]}")
        return
    state = _state(old.home)
    endpoints = ",".join(node["address"] for node in state["nodes"])
    token_file = str(Path(state["folder"]) / "token")
    began = time.monotonic()
    loads = {name: code.load(name, endpoints, token_file) for name, code in (("old", old), ("new", new))}
    try:
        time.sleep(warm_s)
        restart = new.ringmill("cluster", "restart", "--rolling")
        upgrade.turns = restart.stderr.strip().splitlines()
        if restart.returncode:
            upgrade.faults.append(f"cluster restart --rolling: {restart.stderr[-1000:]}")
        time.sleep(warm_s)
        _run_job(upgrade, new)
    finally:
        for name, load in loads.items():
            output, _ = load.communicate(timeout=COMMAND_S)
            upgrade.clients[name] = (
                json.loads(output) if load.returncode == 0 else {"errors": ["it has ended"]}
            )
    upgrade.seconds = round(time.monotonic() - began, 1)
    for name, seen in upgrade.clients.items():
        upgrade.faults += [f"client of the {name} code: {each}" for each in seen["errors"][:5]]
        upgrade.faults += [f"LOST, client of the {name} code: {each}" for each in seen.get("lost", ())[:5]]
    upgrade.faults += _of_earlier_code(_state(old.home), new)


def _state(home: Path) -> dict[str, Any]:
    """The local cluster as its state file tells of it."""
    (file,) = home.rglob("cluster.json")
    state: dict[str, Any] = json.loads(file.read_text())
    return {**state, "folder": str(file.parent)}


def _run_job(upgrade: Upgrade, new: Code) -> None:
    (new.home / "words.py").write_text(WORDS)
    (new.home / "text").write_text("a b a\n" * 1000)
    job = new.ringmill("job", "run", "words.py:count", "--input", "text", "--output", "counts")
    if job.returncode:
        upgrade.faults.append(f"a job after the upgrade: {job.stderr[-1000:]}")


def _of_earlier_code(state: Mapping[str, Any], new: Code) -> Sequence[str]:
    """Nodes whose environment does not name the folder of this code first."""
    found = []
    for node in state["nodes"]:
        environment = Path(f"/proc/{node['pid']}/environ").read_bytes().split(b"\0")
        paths = next((each for each in environment if each.startswith(b"PYTHONPATH=")), b"")
        if paths.removeprefix(b"PYTHONPATH=").split(b":")[0] != str(new.folder).encode():
            found.append(f"{node['id']} does not run this code")
    return found


def _lines(upgrade: Upgrade) -> list[str]:
    lines = [
        f"from {upgrade.revision}, {upgrade.nodes} nodes, {upgrade.seconds:.1f} s of load",
        *upgrade.turns,
    ]
    for name, seen in upgrade.clients.items():
        lines.append(
            f"client of the {name} code: {seen.get('writes', 0)} writes, each read back; "
            f"{len(seen['errors'])} errors, {len(seen.get('lost', ()))} lost"
        )
    return [*lines, *upgrade.faults, "held" if not upgrade.faults else "NOT held"]


if __name__ == "__main__":
    sys.exit(main())
