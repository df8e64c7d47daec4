"""Lines that nobody should type: each ends in a published exit code, without a trace and without hanging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.local.processes import our_environment

PROGRAM = [sys.executable, "-P", "-m", "ringmill"]
NOWHERE = ("--endpoints", "127.0.0.1:1", "--timeout", "200ms")
CODES = {int(code) for code in ExitCode}
WORDS = (
    "", "-", "--", "-5", "-w", "--ttl", "\udcff\udc80", "a\nb", "\x1b[31mred", "{", "{x}", "é" * 600, "../..",
    "-o", "json", "--hex", "--bogus", "nan", "inf", "-1s", "1e3", "99999999999999999999", "99999h",
    "\u202egnp", "%s%n", "$(id)", "/dev/null", "/", "'; drop", "n1", "map-0",
)  # fmt: skip
LINES = (
    "put", "put k", "put k --file", "put k v -w", "put k v --ttl", "put k v --context",
    "put k v --no-context --context", "get", "get k -r", "get k --sibling", "get k --keyspace",
    "get k --timeout", "get k --endpoints", "get k --cluster", "delete", "delete k --context",
    "delete k --durability", "locate", "job", "job list", "job history --limit",
    "job status", "job logs", "job kill",
    "job run", "job run m.py:x --output o --input", "job run --input i --output o",
    "job run m.py:x --input i --output", "job list --token-file", "auth", "auth issue", "auth issue n --role",
    "auth issue n --role read --expires", "auth revoke", "auth require", "auth list",
    "cluster", "cluster status",
    "cluster status --wait", "cluster kill", "cluster pause", "cluster resume", "cluster restart",
    "cluster chaos", "cluster chaos --for", "cluster chaos --faults", "cluster autoscale",
    "gateway", "gateway --http", "gateway --rate-limit", "gateway --window-limit", "gateway --cache-ttl",
    "gateway --cors-origin", "cluster logs", "cluster logs -n", "cluster logs --since",
    "cluster logs --level", "cluster list", "cluster down", "completion",
    "help",
    "bench", "bench --workload", "bench --seconds", "bench --rate", "bench --local", "bench -w",
    "help cluster", "version", "-o", "",
)  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RINGMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def typed(
    *line: str, stdin: bytes = b"", environment: dict[str, str] | None = None, shell: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """`ringmill LINE` in a process of its own; `shell` redirects its streams."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *PROGRAM, *line] if shell else [*PROGRAM, *line]
    surroundings = {**our_environment(), **(environment or {})}
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, env=surroundings, check=False
    )


def three_lines(err: str) -> None:
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "  why", "  try"], err


@pytest.mark.parametrize("begun", LINES)
def test_no_argument_ends_in_a_trace_or_another_exit_code(
    begun: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    has_endpoints = begun.partition(" ")[0] in {"put", "get", "delete", "locate", "job"}
    for word in WORDS:
        line = [*(NOWHERE if has_endpoints else ()), *begun.split(), word]
        code = main(line)
        told = capfd.readouterr()
        assert code in CODES, (line, code)
        assert "Traceback" not in told.err and "internal error" not in told.err, (line, told.err)
        assert "\x1b" not in told.out + told.err, line
        if code not in {0, 2}:  # a group without a verb shows its help
            three_lines(told.err)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("get k --timeout 99999h", "at most 7d"),
        ("get k --timeout 0", "above 0"),
        ("put k v --ttl 9999999w", "longest time span"),
        ("put k v --ttl 0s", "above 0"),
        ("--cluster ../other get k", "not a name for a cluster"),
        ("get k --endpoints http://127.0.0.1:1", "host:port"),
        ("put k --file absent", "absent cannot be read: No such file"),
        ("put k --file .", "cannot be read: Is a directory"),
        ("put k v --context !!", "not base64url"),
        ("job list --token-file absent --endpoints 127.0.0.1:1", "absent cannot be read"),
        ("gateway --redis 0 --cors-origin * --cache-ttl 1s", "--cors-origin and --cache-ttl do nothing"),
        ("gateway --redis 0 --http-cert c", "--http-cert does nothing without --http or --metrics"),
        ("gateway --metrics 0", "no door is to be opened"),
        ("gateway --redis 0 --jobs-folder .", "--jobs-folder does nothing without --http"),
        ("gateway --redis 0 --most-requests 256", "--most-requests does nothing without --http"),
        ("gateway --http 0 --redis-sweep 200", "--redis-sweep does nothing without --redis"),
        ("gateway --http 0 --trace-one-in 5", "--trace-one-in does nothing without --traces"),
    ],
)
def test_a_value_that_cannot_be_is_named_and_ends_with_two(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == ExitCode.USAGE
    err = capsys.readouterr().err
    three_lines(err)
    assert told in err


def test_an_endless_file_is_read_no_further_than_any_cluster_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*NOWHERE, "put", "k", "--file", "/dev/zero"]) == ExitCode.USAGE
    assert "more than 1048576 bytes" in capsys.readouterr().err


def test_settings_that_are_no_utf8_are_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ringmill.toml").write_bytes(b'cluster = "caf\xe9"\n')
    assert main(["version"]) == ExitCode.USAGE
    three_lines(capsys.readouterr().err)
    (tmp_path / "ringmill.toml").unlink()
    (tmp_path / "ringmill.toml").mkdir()
    assert main(["version", "-o", "json"]) == ExitCode.USAGE
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("token", ["café", "two\nlines", "with space"])
def test_a_token_that_cannot_travel_is_refused_before_grpc_sees_it(token: str) -> None:
    ended = typed(*NOWHERE, "job", "list", environment={"RINGMILL_TOKEN": token})
    assert ended.returncode == ExitCode.USAGE
    three_lines(ended.stderr.decode())


def test_a_closed_stdin_is_not_an_empty_value() -> None:
    ended = typed(*NOWHERE, "put", "k", "-", shell="<&-")
    assert ended.returncode == ExitCode.USAGE and b"stdin is closed" in ended.stderr
    three_lines(ended.stderr.decode())


def test_a_closed_stdout_or_stderr_prints_no_traceback_and_no_error_among_the_answers() -> None:
    silent = typed("version", shell=">&-")
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, b"", b"")
    ended = typed("fly", shell="2>&-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, b"", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_an_answer_that_cannot_be_written_is_a_failure() -> None:
    ended = typed("version", shell=">/dev/full")
    assert ended.returncode == ExitCode.FAILED
    three_lines(ended.stderr.decode())
    assert b"No space left" in ended.stderr


def test_a_terminal_without_utf8_gets_escapes_and_json_that_parses() -> None:
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert b"Traceback" not in typed(*NOWHERE, "get", "é", environment=plain).stderr
    ended = typed("-o", "json", "help", "é", environment=plain)
    assert "é" in json.loads(ended.stderr)["error"]["message"]
