"""One gateway for the tests that ask over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


@pytest.fixture(scope="package")
def gateway(shell: Shell) -> Iterator[str]:
    """Its URL.  It takes jobs in a folder `jobs` of the shell's.  SIGTERM ends it, with exit code 0."""
    (shell.folder / "jobs").mkdir()
    process = shell.start("gateway", "--http", "0", "--jobs-folder", "jobs")
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert line.startswith("http  http://127.0.0.1:"), line
    yield line.split()[1]
    process.terminate()
    assert process.wait(30) == 0
    assert process.stderr is not None
    last = process.stderr.read().decode().splitlines()[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \S+ INFO    ringmill\.gateway  the gateway stops", last)
