"""Two keyspaces of five nodes are joined where they lie, typed in a shell: the pairs of one process."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringmill import run_local
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

MODULE = """
from ringmill import KvInput, Source, join

BUYERS = Source("buyers", input=KvInput("buyers", consistency="one"))
BOUGHT = Source("bought", input=KvInput("bought", consistency="snapshot"))
in_place = join(BUYERS, BOUGHT, on="{tag}", how="outer")
by_hash = join(BUYERS, BOUGHT, on="{tag}", how="outer", strategy="hash")
"""


def scanned(shell: Shell, keyspace: str) -> list[tuple[bytes, list[bytes]]]:
    lines = shell.ok("scan", "--keyspace", keyspace).out.splitlines()
    return [(key, [value]) for key, _, value in (line.partition(b"\t") for line in lines)]


@pytest.fixture
def filled(shell: Shell) -> Shell:
    buyers = "".join(f"{{b{number}}}\tname {number}\n" for number in range(80))
    bought = "".join(f"{{b{number % 100}}}/{number}\t{number}\n" for number in range(300))
    for keyspace, lines in (("buyers", buyers), ("bought", bought)):
        shell.ok("keyspace", "create", keyspace)
        shell.ok("mput", "-", "--keyspace", keyspace, stdin=lines.encode())
    return shell


def test_keyspaces_are_joined_where_they_lie_and_by_hash(filled: Shell) -> None:
    shell, folder = filled, filled.folder
    (folder / "in_place.py").write_text(MODULE)
    records = {name: scanned(shell, name) for name in ("buyers", "bought")}
    for name in ("in_place", "by_hash"):
        done = shell.ok("job", "run", f"in_place.py:{name}", "--output", name, "-o", "json").json
        assert done["state"] == "SUCCEEDED"
        assert (done["tasks"]["reduce"], done["records"]["map_in"]) == (4 * (name == "by_hash"), 380)
        with closing(OsFileSystem()) as files:
            definition = load_job_module(f"in_place.py:{name}", files, str(folder)).definition
        alone = run_local(definition, output=f"{folder}/{name}-alone", records=records)
        ours = b"".join(part.read_bytes() for part in sorted((folder / name).glob("part-*")))
        theirs = b"".join(Path(part).read_bytes() for part in alone.parts)
        assert Counter(ours.splitlines()) == Counter(theirs.splitlines())
        assert (len(ours.splitlines()), name == "in_place" or ours == theirs) == (300, True)
    refused = shell.run(
        "job", "run", "in_place.py:in_place", "--input", "buyers=in_place.py", "--output", "x"
    )
    assert refused.code == 2 and "is a path, and the job reads a keyspace" in refused.err
