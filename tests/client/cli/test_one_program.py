"""All verbs are one program: the same flags, the same help, the same errors, and no flag that is dropped."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ringmill.client.cli.console import failure_text, suggested_commands
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.lazy import LazyGroup
from ringmill.client.cli.main import main, ringmill
from ringmill.client.local.processes import our_environment
from ringmill.cluster.errors import CorruptData, RingmillError
from ringmill.cluster.printable import printable

PROGRAM = [sys.executable, "-P", "-m", "ringmill"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RINGMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def typed(*line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *line],
        capture_output=True, text=True, timeout=60, env={**our_environment(), **environment}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "get none -o json --bogus",
        "-o json fly",
        "fly -ojson",
        "-o json",
        "-o json job submit",
        "-o json engine fly",
        "engine inspect -o json",
        "put -o json",
        "cluster status --wait never -o json",
    ],
)
def test_a_usage_error_is_json_when_json_was_asked_for(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == ExitCode.USAGE
    told = capsys.readouterr()
    error = json.loads(told.err)["error"]
    assert (error["code"], error["exit"], told.out) == ("INVALID_ARGUMENT", 2, "")


@pytest.mark.parametrize("form", [["-o", "json"], []], ids=["flag", "environment"])
def test_programs_behind_a_verb_hear_the_form_of_the_answer(form: list[str]) -> None:
    environment = {} if form else {"RINGMILL_OUTPUT": "json"}
    run = typed(*form, "simulate", "--seed", "3", "--ops", "5", **environment)
    assert json.loads(run.stdout)["verdict"] == "ok"
    missing = typed(*form, "engine", "inspect", "/nonexistent", **environment)
    assert json.loads(missing.stderr)["error"]["exit"] == missing.returncode == ExitCode.NOT_FOUND
    misuse = typed(*form, "simulate", "--bogus", **environment)
    assert json.loads(misuse.stderr)["error"]["exit"] == misuse.returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("cluster kill n1 --timeout 1s", "--timeout"),
        ("--timeout 3s cluster down", "--timeout"),
        ("--timeout 3s simulate", "--timeout"),
        ("--cluster x version", "--cluster"),
        ("engine verify . --cluster x", "--cluster"),
        ("-o json node run", "-o"),
        ("--token-file t cluster down", "--token-file"),
    ],
)
def test_a_flag_that_means_nothing_is_refused_and_not_dropped(
    line: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == ExitCode.USAGE
    assert f"{flag} means nothing to `ringmill" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed_verb", "meant"),
    [
        ("set", "put"), ("del", "delete"), ("rm", "delete"), ("ls", "cluster list"), ("submit", "job run"),
        ("status", "cluster status"), ("gte", "get"), ("job submit", "job run"),
         ("chaos", "cluster chaos"), ("scale", "cluster autoscale"),
        ("cluster shutdown", "cluster down"), ("cluster drain", "cluster stop"),
        ("cluster statsu", "cluster status"), ("cluster init", "cluster form"),
        ("cluster join", "cluster join-token"), ("cluster top", "top"), ("cluster explain", "explain"),
        ("ring put", "put"),
    ],
)  # fmt: skip
def test_a_verb_of_another_tool_or_a_slip_is_answered_with_the_one_that_was_meant(
    typed_verb: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed_verb.split()) == ExitCode.USAGE
    assert f"did you mean `ringmill {meant}`?" in capsys.readouterr().err


def test_help_has_three_names_and_the_version_two(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for line in ("put -h", "put --help", "help put"):
        assert main(line.split()) == ExitCode.DONE
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2] and "Write VALUE" in told[0]
    assert main(["-h"]) == main(["help"]) == ExitCode.DONE
    assert main(["help", "fly"]) == ExitCode.USAGE
    capsys.readouterr()
    assert main(["--version"]) == main(["version"]) == ExitCode.DONE
    first, second = capsys.readouterr().out.split("ringmill\t")[1:]
    assert first == second
    assert "-h, --help" in typed("simulate", "-h").stdout == typed("help", "simulate").stdout


def test_a_shell_completes_verbs_flags_and_clusters_quickly(tmp_path: Path) -> None:
    (tmp_path / ".ringmill" / "blue").mkdir(parents=True)
    (tmp_path / ".ringmill" / "blue" / "cluster.json").write_text("{}")

    def completed(words: str) -> set[str]:
        count = str(len(words.split(" ")) - 1)
        ended = typed(_RINGMILL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
        assert ended.returncode == 0, ended.stderr
        return {line.partition(",")[2] for line in ended.stdout.splitlines()}

    assert completed("ringmill cl") == {"cluster"}
    assert completed("ringmill cluster re") == {
        "resume", "restart", "replace", "recover", "remove", "rebalance"
    }  # fmt: skip
    assert completed("ringmill cluster ch") == {"chaos"}
    assert completed("ringmill cluster au") == {"autoscale"}
    assert completed("ringmill cluster autoscale --target") == {
        "--target-p99", "--target-cpu", "--target-bytes"
    }  # fmt: skip
    assert completed("ringmill gateway --http") == {"--http", "--http-cert", "--http-key"}
    assert completed("ringmill cluster chaos --f") == {"--for", "--faults"}
    assert completed("ringmill put --t") == {
        "--ttl", "--timeout", "--tls-ca", "--tls-cert", "--tls-key", "--token-file"
    }  # fmt: skip
    assert completed("ringmill --cluster b") == {"blue"}
    for shell in ("bash", "zsh", "fish"):
        script = typed("completion", shell)
        assert script.returncode == 0 and "_RINGMILL_COMPLETE" in script.stdout
    assert typed("completion", "csh").returncode == ExitCode.USAGE


def test_completing_a_verb_loads_no_verb() -> None:
    program = (
        "import sys; from ringmill.client.cli.main import main; main();"
        "sys.exit(any(one in sys.modules for one in ('grpc', 'rich', 'ringmill.client.cli.kv.kv_write')))"
    )
    words = {"_RINGMILL_COMPLETE": "bash_complete", "COMP_WORDS": "ringmill ", "COMP_CWORD": "1"}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program], env={**our_environment(), **words}, timeout=60, check=False
    )
    assert ended.returncode == 0


def test_hints_name_the_cluster_that_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cluster", "nc", "get", "k"]) == ExitCode.UNREACHABLE
    err = capsys.readouterr().err
    assert "`ringmill --cluster nc cluster up`" in err and os.getcwd() in err
    assert main(["--endpoints", "127.0.0.1:1", "--timeout", "1s", "get", "k"]) == ExitCode.UNREACHABLE
    err = capsys.readouterr().err
    assert "`ringmill --endpoints 127.0.0.1:1 cluster status`" in err and "`ringmill cluster up`" in err


def test_hints_call_the_program_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "a venv" / "bin" / "ringmill"
    script.parent.mkdir(parents=True)
    script.write_text("#!python\n")
    monkeypatch.setenv("PATH", "/nowhere")
    assert suggested_commands.program_name((str(script), "python")) == "'a venv/bin/ringmill'"
    module = str(tmp_path / "ringmill" / "__main__.py")
    assert suggested_commands.program_name((module, ".venv/bin/python")) == ".venv/bin/python -m ringmill"
    monkeypatch.setenv("PATH", str(script.parent))
    assert suggested_commands.program_name((str(script), "python")) == "ringmill"
    settings = Settings(cluster="nc", given={"cluster"})
    assert suggested_commands.as_typed("`ringmill put k v`, ringmill simulate", settings) == (
        "`ringmill --cluster nc put k v`, ringmill simulate"
    )


def test_a_key_in_a_hint_can_be_typed() -> None:
    assert suggested_commands.typed_key(b"user:42") == "user:42"
    assert suggested_commands.typed_key(b"two words") == "'two words'"
    assert suggested_commands.typed_key(b"-5") == "-- -5"
    assert suggested_commands.typed_key(b"\x1b[31m") == "--hex 1b5b33316d"
    assert suggested_commands.typed_key(b"\xff") == "--hex ff"


def test_no_character_that_steers_a_terminal_is_shown_as_it_is() -> None:
    assert printable("a\x1b[31m\r\u202eb\x9b\n") == "a\\x1b[31m\\r\\u202eb\\x9b\\n"
    assert printable("two\nlines\x07", keep="\n") == "two\nlines\\x07"
    assert printable("é 語 🙂") == "é 語 🙂"


SAME_CLUSTER = {
    "cluster": "nc", "endpoints": "h:1", "token_file": "a token", "tls_ca": "ca.pem", "tls_cert": "c.pem",
    "tls_key": "c.key",
}  # fmt: skip


def lines_of(group: LazyGroup, path: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        line = f"{path}{name}"
        found += lines_of(command, f"{line} ") if isinstance(command, LazyGroup) else [(line, command)]
    return found


def test_a_suggested_verb_keeps_each_flag_by_which_it_finds_the_same_cluster_and_no_other() -> None:
    """Typed beside a local cluster, one that has lost --endpoints acts on that."""
    settings = Settings(**SAME_CLUSTER, given={*SAME_CLUSTER})  # type: ignore[arg-type]
    shown = {}
    for line, command in lines_of(ringmill):
        flags = {flag for each in command.params if not getattr(each, "hidden", False) for flag in each.opts}
        words = suggested_commands.as_typed(f"do `ringmill {line} x`, now", settings).split("`")[1]
        typed_flags = {word for word in shlex.split(words) if word.startswith("--")}
        known = {f"--{name.replace('_', '-')}" for name in SAME_CLUSTER}
        assert typed_flags == flags & known, line
        assert words.endswith(f"{line} x")
        shown[line] = words
    assert len(shown) > 80
    assert "--endpoints h:1 --token-file 'a token' --tls-ca ca.pem" in shown["repair run"]
    assert "--endpoints" not in shown["cluster restart"]


def test_what_a_suggestion_names_itself_is_not_said_twice_and_prose_stays() -> None:
    settings = Settings(endpoints="h:1", given={"endpoints"})
    for text, typed_text in {
        "ringmill top; ringmill cluster status --hot": (
            "ringmill --endpoints h:1 top; ringmill --endpoints h:1 cluster status --hot"
        ),
        "ringmill get k; ringmill put k v --endpoints h:2": (
            "ringmill --endpoints h:1 get k; ringmill put k v --endpoints h:2"
        ),
        "ringmill --version": "ringmill --version",
        "a ringmill of one's own": "a ringmill of one's own",
    }.items():
        assert suggested_commands.as_typed(text, settings) == typed_text


@pytest.mark.parametrize("error", [CorruptData("x"), RingmillError("x")])
def test_the_logs_of_local_nodes_are_not_named_for_others(
    error: RingmillError, capsys: pytest.CaptureFixture[str]
) -> None:
    for settings in (Settings(), Settings(endpoints="h:1", given={"endpoints"})):
        failure_text.tell(error, ExitCode.FAILED, settings)
        told = capsys.readouterr().err
        assert ("cluster logs" in told) == (not settings.endpoints) and "logs" in told
