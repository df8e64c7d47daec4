"""Each rule of scripts/tidy.py goes red on a small tree made for it, and stays silent on a clean one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tidy

DOC = '"""A module."""\n'
MODULE = DOC + "__all__ = []\n"
NOTE = "TO" + "DO"

REFUSED = [
    ("a long file", "scripts/a.py", MODULE + "x = 1\n" * 500, "502 lines, more than 500"),
    ("a long function", "cluster/a.py", MODULE + "def f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
    ("no docstring", "tests/a.py", "x = 1\n", "no module docstring"),
    ("a package file with content", "node/__init__.py", DOC, "a package file with content"),
    ("no named surface", "client/a.py", DOC, "no __all__"),
    ("a file that does not parse", "cluster/a.py", "def f(:\n", "does not parse"),
    ("an import of the clock", "node/a.py", MODULE + "import time\n", "imports time"),
    ("an import of randomness", "node/a.py", MODULE + "from random import choice\n", "imports random"),
    ("an import of threads", "client/a.py", MODULE + "from concurrent.futures import Future\n", "concurrent"),
    ("an import inside a function", "node/a.py", MODULE + "def f():\n    import socket\n", "imports socket"),
    ("a bare open", "ringmill/a.py", MODULE + "open('x')\n", "bare open"),
    ("os.open", "node/a.py", MODULE + "import os\nos.open('x', 0)\n", "os.open"),
    ("a name taken from os", "node/a.py", MODULE + "from os import fsync\n", "os.fsync"),
    ("a pathlib read", "cluster/a.py", MODULE + "def f(p): return p.read_text()\n", ".read_text"),
    ("datetime.now", "node/a.py", MODULE + "import datetime\ndatetime.datetime.now()\n", "datetime.now"),
    ("a thread by executor", "node/a.py", MODULE + "def f(l): l.run_in_executor(None, f)\n", "run_in_exec"),
    ("an unseeded door in the simulator", "simulator/a.py", MODULE + "import uuid\n", "imports uuid"),
    ("hash of a string", "cluster/a.py", MODULE + "x = hash('a')\n", "hash() differs"),
    ("a walk over a set", "node/a.py", MODULE + "for x in set('ab'):\n    print(x)\n", "walks a set"),
    ("a logged error", "scripts/a.py", DOC + "try:\n    f()\nexcept Exception:\n    log.info()\n", "broad"),
    ("an error passed over", "scripts/a.py", DOC + "try:\n    f()\nexcept:\n    pass\n", "broad except"),
    ("a name that says nothing", "node/utils.py", MODULE, "a name that says nothing"),
    ("a folder that says nothing", "node/common/a.py", MODULE, "a name that says nothing"),
    ("a note to oneself", "cluster/a.py", MODULE + f"# {NOTE}: later\n", "a note to oneself"),
    ("a path of one machine", "Makefile", "all:\n\tcd /" + "home/someone\n", "an absolute path"),
    ("a dead link", "docs/a.md", "see [b](b.md)\n", "dead link b.md: no such file"),
    ("a link out of the project", "docs/a.md", "see [b](../../)\n", "it leaves the project"),
    ("a dead anchor", "docs/a.md", "# One\n[two](#two)\n", "no heading #two"),
    ("a page that code cites", "node/a.py", MODULE + "# docs/gone.md\n", "cites docs/gone.md"),
    ("a bare import", "node/a.py", MODULE + "from cluster.ids import NodeId\n", "write ringmill.cluster.ids"),
    ("stale stubs", "scripts/proto.py", DOC + "raise SystemExit('run `make proto`')\n", "run `make proto`"),
]  # fmt: skip

ACCEPTED = [
    ("the clock in an adapter", "cluster/adapters/a.py", MODULE + "import time\n"),
    ("seeded randomness in the simulator", "simulator/a.py", MODULE + "import random\n"),
    ("a hash for __hash__", "cluster/a.py", MODULE + "def __hash__(self):\n    return hash(self.x)\n"),
    ("a sorted set", "node/a.py", MODULE + "for x in sorted(set('ab')):\n    print(x)\n"),
    ("an error that is raised again", "scripts/a.py", DOC + "try:\n    f()\nexcept Exception:\n    raise\n"),
    ("an empty package file", "node/__init__.py", ""),
    ("a private module", "node/_a.py", DOC),
    ("generated stubs", "cluster/wire/a_pb2.py", "import time\n"),
    (
        "links that lead somewhere",
        "docs/a.md",
        "# A `b` c!\n[a](#a-b-c) [b](a.md#a-b-c) [c](https://x.test)\n",
    ),
    ("pages that pages name", "docs/a.md", "`docs/gone.md`\n"),
    ("links in code", "docs/a.md", "`[a](b.md)`\n\n```\n[a](b.md)\n```\n"),
]


def _found(root: Path, name: str, text: str) -> list[str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return [str(finding) for finding in tidy.findings(root)]


@pytest.mark.parametrize(
    ("name", "text", "expected"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_tidy_refuses(tmp_path: Path, name: str, text: str, expected: str) -> None:
    found = _found(tmp_path, name, text)
    assert len(found) == 1, found
    assert expected in found[0]
    if name != "scripts/proto.py":
        assert found[0].startswith(f"{name}:"), found


@pytest.mark.parametrize(("name", "text"), [case[1:] for case in ACCEPTED], ids=[c[0] for c in ACCEPTED])
def test_tidy_accepts(tmp_path: Path, name: str, text: str) -> None:
    assert _found(tmp_path, name, text) == []


def test_code_may_cite_only_headings_that_a_page_has(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# The five doors\n", encoding="utf-8")
    cites = MODULE + '# docs/a.md, "The five doors".\n# docs/a.md, "The sixth door".\n'
    assert _found(tmp_path, "node/a.py", cites) == [
        'node/a.py:4: cites "The sixth door" of docs/a.md, which has no such heading'
    ]


def test_a_folder_with_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(15):
        assert _found(tmp_path, f"node/a{number}.py", MODULE) == []
    [finding] = _found(tmp_path, "node/a15.py", MODULE)
    assert finding.startswith("node:1: 16 files, more than 15")


def test_a_circle_of_files_is_refused(tmp_path: Path) -> None:
    assert _found(tmp_path, "node/a.py", MODULE + "from ringmill.node.b import B\n") == []
    assert _found(tmp_path, "node/b.py", MODULE + "from ringmill.node import c\n") == []
    [finding] = _found(tmp_path, "node/c.py", MODULE + "import ringmill.node.a\n")
    assert "a circle of files: ringmill.node.a, ringmill.node.b, ringmill.node.c" in finding


def test_a_usual_file_is_short(tmp_path: Path) -> None:
    [finding] = _found(tmp_path, "node/a.py", MODULE + "x = 1\n" * 120)
    assert "the median file has 122 lines, more than 120" in finding


def test_the_program_prints_a_line_a_finding_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "a.py").write_text("import time\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tidy.__file__, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "cluster/a.py:1: no module docstring; say what it is for and what may not be in it",
        "cluster/a.py:1: no __all__; list the names that other modules may use",
        "cluster/a.py:1: imports time outside the open rooms; ask the Clock (cluster/ports.py)",
    ]
    assert done.stderr == "tidy: 3 findings\n"
