"""A watch of a prefix, typed in a shell at five real processes, while the nodes below it are killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.long_form import takes_long

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.cli.conftest import Shell


def line_of(watching: subprocess.Popen[bytes]) -> Any:
    assert watching.stdout is not None
    line = watching.stdout.readline()
    assert line, watching.communicate()
    return json.loads(line)


def end(watching: subprocess.Popen[bytes]) -> None:
    watching.kill()
    watching.communicate()


@takes_long
def test_a_watch_of_a_prefix_misses_no_key_while_nodes_are_killed_and_started(shell: Shell) -> None:
    shell.ok("put", "user:1", "a")
    shell.ok("put", "other", "x")
    watching = shell.start("watch", "--prefix", "user:", "-o", "json")
    try:
        first = line_of(watching)
        assert (first["key"], first["value"]) == ("user:1", "a")
        for number, node in enumerate(("n1", "n2", "n3"), 2):
            shell.ok("cluster", "kill", node)
            shell.ok("put", f"user:{number}", node)
            while (told := line_of(watching))["key"] != f"user:{number}":
                assert told["key"].startswith("user:")
            assert told["value"] == node
            shell.ok("cluster", "restart", node)
        shell.ok("delete", "user:2")
        while not told["deleted"]:
            told = line_of(watching)
        assert told["key"] == "user:2"
    finally:
        end(watching)
    shell.ok("put", "user:9", "later")
    going_on = shell.start("watch", "--prefix", "user:", "--after", told["cursor"], "-o", "json")
    try:
        while (told := line_of(going_on))["key"] != "user:9":
            assert told["key"].startswith("user:")
    finally:
        end(going_on)


def test_a_watch_from_now_tells_what_comes_and_wrong_words_are_refused(shell: Shell) -> None:
    shell.ok("put", "new:1", "old")
    first = shell.ok("watch", "--prefix", "new:", "--count", "1").out
    assert first == b"new:1\told\n"
    assert shell.run("watch").code == 2
    assert shell.run("watch", "key", "--prefix", "k").code == 2
    assert shell.run("watch", "key", "--from-now").code == 2
    refused = shell.run("watch", "--prefix", "k", "--after", "nonsense")
    assert refused.code == 2 and "cursor" in refused.err
