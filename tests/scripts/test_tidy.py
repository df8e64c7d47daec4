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
    ("a long file", "scripts/a.py", MODULE + "_x = 1\n" * 500, "502 lines, more than 500"),
    ("a long function", "cluster/a.py", MODULE + "def _f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
    ("no docstring", "tests/a.py", "x = 1\n", "no module docstring"),
    ("a package file with content", "node/__init__.py", DOC, "a package file with content"),
    ("no named surface", "client/a.py", DOC, "no __all__"),
    ("a file that does not parse", "cluster/a.py", "def _f(:\n", "does not parse"),
    ("an import of the clock", "node/a.py", MODULE + "import time\n", "imports time"),
    ("an import of randomness", "node/a.py", MODULE + "from random import choice\n", "imports random"),
    ("an import of threads", "client/a.py", MODULE + "from concurrent.futures import Future\n", "concurrent"),
    ("an import inside a function", "node/a.py", MODULE + "def _f():\n    import socket\n", "imports socket"),
    ("a bare open", "ringmill/a.py", MODULE + "open('x')\n", "bare open"),
    ("os.open", "node/a.py", MODULE + "import os\nos.open('x', 0)\n", "os.open"),
    ("a name taken from os", "node/a.py", MODULE + "from os import fsync\n", "os.fsync"),
    ("a pathlib read", "cluster/a.py", MODULE + "def _f(p): return p.read_text()\n", ".read_text"),
    ("datetime.now", "node/a.py", MODULE + "import datetime\ndatetime.datetime.now()\n", "datetime.now"),
    ("a thread by executor", "node/a.py", MODULE + "def _f(l): l.run_in_executor(None, f)\n", "run_in_exec"),
    ("an unseeded door in the simulator", "simulator/a.py", MODULE + "import uuid\n", "imports uuid"),
    ("an errno judged on the spot", "node/a.py", MODULE + "import errno\n", "ask meaning_of(error)"),
    ("hash of a string", "cluster/a.py", MODULE + "_x = hash('a')\n", "hash() differs"),
    ("a walk over a set", "node/a.py", MODULE + "for x in set('ab'):\n    print(x)\n", "walks a set"),
    ("a logged error", "scripts/a.py", DOC + "try:\n    f()\nexcept Exception:\n    log.info()\n", "broad"),
    ("an error passed over", "scripts/a.py", DOC + "try:\n    f()\nexcept:\n    pass\n", "broad except"),
    ("a cancellation lost", "node/a.py", MODULE + "async def _f(): await asyncio.gather()\n", "loses a canc"),
    ("a name that says nothing", "node/utils.py", MODULE, "a name that says nothing"),
    ("a folder that says nothing", "node/common/a.py", MODULE, "a name that says nothing"),
    ("a note to oneself", "cluster/a.py", MODULE + f"# {NOTE}: later\n", "a note to oneself"),
    ("a phrase that puzzles", "docs/a.md", "gone for " + "good\n", "puzzles a reader; write: permanently"),
    ("a phrase over two lines", "docs/a.md", "It is gone for\n" + "good.\n", "docs/a.md:1: "),
    ("a phrase over two comments", "node/a.py", MODULE + "# for\n    # " + "good\n", "node/a.py:3: "),
    ("a phrase in two strings", "node/a.py", MODULE + '_x = ("for "\n  f"' + 'good")\n', "puzzles a"),
    ("a path of one machine", "Makefile", "all:\n\tcd /" + "home/someone\n", "an absolute path"),
    ("a dead link", "docs/a.md", "see [b](b.md)\n", "dead link b.md: no such file"),
    ("a link out of the project", "docs/a.md", "see [b](../../)\n", "it leaves the project"),
    ("a dead anchor", "docs/a.md", "# One\n[two](#two)\n", "no heading #two"),
    ("a page that code cites", "node/a.py", MODULE + "# docs/gone.md\n", "cites docs/gone.md"),
    ("a bare import", "node/a.py", MODULE + "from cluster.ids import NodeId\n", "write ringmill.cluster.ids"),
    ("a rule that no page states", "node/a.py", MODULE + "# as W1 says\n", "cites rule W1, which docs"),
    ("such a rule at the end of others", "node/a.py", MODULE + "# see x-W1\n", "cites rule W1"),
    ("such a rule in a docstring", "tests/a.py", '"""W1."""\n', "cites rule W1"),
    ("such a rule in prose", "docs/a.md", "W1 says so\n", "cites rule W1"),
    ("such a rule in a proto file", "proto/a.proto", "int32 a = 1;  // W1\n", "cites rule W1"),
    ("a section of another page", "cluster/a.py", MODULE + "# protocols 10\n", 'cites "protocols 10", which'),
    ("such a section in words", "proto/a.proto", "// protocols section 6\n", "outside the repository"),
    ("such a section in prose", "docs/a.md", "the protocols, section 6\n", "outside the repository"),
    ("a page of the design", "tests/a.py", '"""The design page says so."""\n', 'cites "design page"'),
    ("a folder outside", "Makefile", "all:  # see ../research/a.md\n", 'cites "research/a.md"'),
    ("a page without its folder", "node/a.py", MODULE + "# storage.md 3\n", "cites storage.md, which is not"),
    ("a name that nothing uses", "node/a.py", MODULE + "def f(): return 1\n", "nothing but tests uses f"),
    ("a field that nothing reads", "node/a.py", MODULE + "class _A: ...\nclass B: x: int\nB\n", "uses x"),
    ("stale stubs", "scripts/proto.py", DOC + "raise SystemExit('run `make proto`')\n", "run `make proto`"),
]  # fmt: skip

ACCEPTED = [
    ("the clock in an adapter", "cluster/adapters/a.py", MODULE + "import time\n"),
    ("errno in an adapter", "cluster/adapters/a.py", MODULE + "import errno\n"),
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
    ("names and data like rules", "node/a.py", MODULE + "W1 = 'W1'\n"),
    ("longer words like rules", "node/a.py", MODULE + "# W10a, #W1, x.W1, W1x, 'W1', W100\n"),
    ("code like rules in a page", "docs/a.md", "`W1`\n\n    W1\n\n```\nW1\n```\n"),
    ("a page that a test makes", "tests/a.py", DOC + "# b.md\n"),
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
    [finding] = _found(tmp_path, "node/a.py", MODULE + "_x = 1\n" * 120)
    assert "the median file has 122 lines, more than 120" in finding


GUARANTEES = """# Guarantees

## Deletes

- What was deleted stays deleted.

### Retries

- A write is shown once.

## Where each is shown

| section | guarantee | condition | shown by |
|---|---|---|---|
| [Deletes](#deletes) | it stays deleted | | C6; `tests/test_a.py` |
| [Retries](#retries) | it is shown once | | `tests/` |
| [Retries](#retries) | and quickly | | [figures](testing.md#checkers) |

## Not promised yet
"""


@pytest.mark.parametrize(
    ("kept", "put", "expected"),
    [
        ("", "", ""),
        ("| [Deletes](#deletes)", "| deletes", 'docs/guarantees.md:3: no row of the table shows "Deletes"'),
        ("[Retries]", "retries", 'docs/guarantees.md:7: no row of the table shows "Retries"'),
        ("test_a.py", "test_b.py", "docs/guarantees.md:15: names tests/test_b.py, which is not there"),
        ("C6;", "C7;", "docs/guarantees.md:15: names C7, which docs/testing.md does not have"),
        ("| `tests/`", "| all of us", "docs/guarantees.md:16: a promise that nothing shows"),
        ("## Where each is shown", "## Tests", 'docs/guarantees.md:1: has no "## Where each is shown"'),
    ],
)
def test_each_section_of_promises_has_a_row_of_the_table_of_tests(
    tmp_path: Path, kept: str, put: str, expected: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "testing.md").write_text("# Checkers\n\n| C6 | it stays away |\n", encoding="utf-8")
    assert _found(tmp_path, "tests/test_a.py", DOC) == []
    found = _found(tmp_path, "docs/guarantees.md", GUARANTEES.replace(kept, put) if kept else GUARANTEES)
    assert len(found) == bool(expected), found
    assert not expected or found[0].startswith(expected), found


RULE = "# Writes\n\n## W1: Nothing is taken back\n\nIt stays.\n\n"


NONE = "_x = 1\n"
KEPT = '_KEPT = Ablation("kept", rules=("W1",))\n'


def _protocol(root: Path, page: str, code: str = MODULE + "# rule W1\n", ablations: str = NONE) -> list[str]:
    (root / "simulator").mkdir()
    (root / "simulator" / "a.py").write_text(MODULE + ablations, encoding="utf-8")
    (root / "node").mkdir()
    (root / "node" / "a.py").write_text(code, encoding="utf-8")
    return _found(root, "docs/protocol/writes.md", page)


def test_a_rule_that_is_stated_cited_and_shown_is_in_order(tmp_path: Path) -> None:
    page = RULE + "*Shown by:* `kept`, `simulator/a.py`.\n\n*Obeyed in:* `node/a.py`,\n`other`.\n"
    assert _protocol(tmp_path, page, ablations=KEPT) == []


def test_a_rule_that_nobody_cites_is_refused_unless_it_is_planned(tmp_path: Path) -> None:
    page = RULE + "## W2: Planned: receipts\n\n## W3: A lost level is unknown\n\nSee W1 and W3.\n"
    assert _protocol(tmp_path, page) == [
        "docs/protocol/writes.md:9: nothing cites W3; cite it where it is obeyed, or say that it is planned"
    ]


def test_a_test_that_cites_a_rule_is_enough(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text('"""What W1 promises."""\n', encoding="utf-8")
    assert _protocol(tmp_path, RULE, code=MODULE) == []


def test_a_rule_is_stated_once(tmp_path: Path) -> None:
    (tmp_path / "docs" / "protocol").mkdir(parents=True)
    (tmp_path / "docs" / "protocol" / "requests.md").write_text(RULE, encoding="utf-8")
    assert _protocol(tmp_path, RULE) == [
        "docs/protocol/writes.md:3: states W1, which docs/protocol/requests.md states too; number it anew"
    ]


def test_a_heading_elsewhere_states_no_rule(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("## W2: Receipts\n", encoding="utf-8")
    assert _protocol(tmp_path, RULE) == ["docs/a.md:1: cites rule W2, which docs/protocol does not state"]


def test_what_a_page_names_as_ablation_or_file_has_to_be_there(tmp_path: Path) -> None:
    page = RULE + "*Shown by:* `kept`,\n`gone`, `tests/gone.py`.\n\n*Obeyed in:* `node/gone.py`, `other`.\n"
    assert _protocol(tmp_path, page, ablations=KEPT) == [
        "docs/protocol/writes.md:8: names tests/gone.py, which is not there",
        "docs/protocol/writes.md:10: names node/gone.py, which is not there",
        "docs/protocol/writes.md:8: names the ablation gone, which simulator/ does not have",
    ]


def test_an_ablation_and_the_rule_that_it_shows_name_each_other(tmp_path: Path) -> None:
    page = RULE + "*Shown by:* `silent`.\n"
    ablations = '_KEPT = Ablation("kept", rules=("W1", "W9"))\n_SILENT = Ablation("silent", rules=())\n'
    line = len(MODULE.splitlines()) + 1
    assert _protocol(tmp_path, page, ablations=ablations) == [
        "docs/protocol/writes.md:7: says that silent shows W1, the ablation does not",
        f"simulator/a.py:{line}: the ablation kept shows W1, whose page does not name it",
        f"simulator/a.py:{line}: the ablation kept shows W9, which docs/protocol does not state",
        f"simulator/a.py:{line + 1}: the ablation silent shows no rule",
    ]


def test_a_file_where_a_rule_is_obeyed_has_to_cite_it(tmp_path: Path) -> None:
    page = RULE + "As `simulator/a.py` shows.\n\n*Obeyed in:* `node/a.py`,\n`simulator/a.py`.\n"
    assert _protocol(tmp_path, page) == [
        "docs/protocol/writes.md:10: says that simulator/a.py obeys W1, which does not cite it"
    ]


def test_a_command_line_names_verbs_that_are_there(tmp_path: Path) -> None:
    cli = tmp_path / "client" / "cli"
    cli.mkdir(parents=True)
    tables = "_a = Group('ringmill', {'put': 1, 'cluster': 2})\n_b = Group('cluster', {'up': 1, 'form': 2})\n"
    (cli / "a.py").write_text(MODULE + tables, encoding="utf-8")
    known = "`ringmill put k v`, `ringmill --cluster a cluster up`, `ringmill {verb} x`, `ringmill help|put`"
    assert _found(tmp_path, "node/b.py", MODULE + f'_hint = "{known}"\n') == []
    assert _found(tmp_path, "node/b.py", MODULE + '_hint = "run `ringmill cluster init`"\n') == [
        "node/b.py:3: `ringmill cluster init`: cluster has no verb init; its verbs are form, up"
    ]
    (tmp_path / "node" / "b.py").unlink()
    page = "`ringmill gett k`\n\n```\n$ ringmill -o json cluster dwn\nringmill put k v\n```\n"
    assert [line.partition("; ")[0] for line in _found(tmp_path, "docs/a.md", page)] == [
        "docs/a.md:1: `ringmill gett k`: ringmill has no verb gett",
        "docs/a.md:4: `ringmill -o json cluster dwn`: cluster has no verb dwn",
    ]


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


def test_a_name_stands_in_one_place_of_the_product(tmp_path: Path) -> None:
    def seconds(name: str) -> list[str]:
        return [found for found in _found(tmp_path, name, one) if " a second " in found]

    one = DOC + (
        "__all__ = []\n\n\nclass Route:\n    pass\n\n\nclass _Own:\n    pass\n"
        "def route(): ...\ndef _own(): ...\ndef main(): ...\n@click.command()\ndef put(): ...\n"
    )
    assert seconds("cluster/ring/routes.py") == []
    assert seconds("scripts/routes.py") == []
    assert seconds("node/replica/routes.py") == [
        "node/replica/routes.py:1: a second file routes.py, beside cluster/ring/routes.py; "
        "name each after its own idea",
        "node/replica/routes.py:5: a second class Route, beside cluster/ring/routes.py; "
        "one word, one idea (docs/glossary.md)",
        "node/replica/routes.py:11: a second function route, beside cluster/ring/routes.py; "
        "say what this one does that the other does not",
    ]


def test_a_type_of_the_surface_stands_in_one_place_of_the_product(tmp_path: Path) -> None:
    def seconds(name: str, definition: str) -> list[str]:
        text = DOC + f'__all__ = ["Route"]\n{definition}\nLocal = list[{name!r}]\n'
        return [found for found in _found(tmp_path, name, text) if " a second " in found]

    assert seconds("client/one.py", "Route: TypeAlias = list[str]") == []
    assert seconds("cluster/same.py", "Route = list[str]") == []
    assert seconds("node/class.py", "class Route: ...") == [
        "node/class.py:3: a second class Route, beside client/one.py; one word, one idea (docs/glossary.md)"
    ]
    assert seconds("node/class.py", "Route = Callable[[str], None]") == [
        "node/class.py:3: a second type Route, beside client/one.py; one word, one idea (docs/glossary.md)"
    ]
