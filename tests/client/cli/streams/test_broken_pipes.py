"""A reader of stdout or stderr that goes away: the verb does what it was told to, and its code is kept."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.standard_streams import ENDED_BY_THEIR_READER
from ringmill.client.cli.lazy import LazyGroup
from ringmill.client.cli.main import ringmill
from ringmill.client.local.processes import our_environment
from tests.client.one_node import OneNode

PROGRAM = [sys.executable, "-P", "-m", "ringmill"]
LINES = b"".join(b"k%d\tv\n" % number for number in range(2500))


def run(
    *line: str, broken: tuple[str, ...], stdin: bytes = b"", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """`ringmill LINE`, with streams that nobody reads."""
    environ = {name: value for name, value in our_environment().items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        out, err = (writer if name in broken else subprocess.PIPE for name in ("stdout", "stderr"))
        surroundings = {**environ, **(environment or {})}
        return subprocess.run(
            [*PROGRAM, *line],
            input=stdin,
            env=surroundings,
            timeout=120,
            check=False,
            stdout=out,
            stderr=err,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize("is_unbuffered", ["", "1"])
def test_a_warning_that_nobody_reads_does_not_keep_the_verb_from_running(
    node: tuple[OneNode, str], is_unbuffered: str
) -> None:
    told = run(
        "--endpoints",
        node[1],
        "put",
        "warned",
        "v",
        broken=("stderr",),
        environment={"RINGMILL_FOO": "1", "PYTHONUNBUFFERED": is_unbuffered},
    )
    assert told.returncode == ExitCode.DONE
    assert node[0].values[b"warned"] == [b"v"]
    assert told.stdout, "the answer was lost with stderr"


@pytest.mark.parametrize("broken", [("stdout",), ("stdout", "stderr")])
def test_all_batches_are_written_whoever_reads_their_receipts(
    node: tuple[OneNode, str], broken: tuple[str, ...]
) -> None:
    node[0].values.clear()
    told = run("--endpoints", node[1], "mput", "-", broken=broken, stdin=LINES)
    assert told.returncode == ExitCode.DONE
    assert len(node[0].values) == 2500


def test_a_verb_that_only_prints_ends_with_its_reader(node: tuple[OneNode, str]) -> None:
    node[0].values[b"k"] = [b"v"]
    told = run("--endpoints", node[1], "mget", "-", broken=("stdout",), stdin=b"k\n" * 5000)
    said = [line for line in told.stderr.splitlines() if b"keys so far" not in line]  # when it takes long
    assert (told.returncode, said) == (ExitCode.DONE, [])


@pytest.mark.parametrize("broken", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_code_that_is_known_is_kept(node: tuple[OneNode, str], broken: tuple[str, ...]) -> None:
    line = ("--endpoints", node[1], "-o", "json", "mput", "-w", "3", "k=v")
    whole = run(*line, broken=())
    assert run(*line, broken=broken).returncode == whole.returncode != ExitCode.DONE


def test_each_verb_that_ends_with_its_reader_is_one_of_the_program() -> None:
    def verbs(group: LazyGroup, path: str) -> set[str]:
        found = set[str]()
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            below = f"{path} {name}"
            found |= verbs(command, below) if isinstance(command, LazyGroup) else {below}
        return found

    assert verbs(ringmill, "ringmill") >= ENDED_BY_THEIR_READER
