"""Settings, output forms and exit codes of the command line, without any cluster."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import ringmill.client.cli
from ringmill.client.cli.console import exit_codes, failure_text, output
from ringmill.client.cli.console.connecting import cluster_token, endpoints_of, secrets_of
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.client.cli.main import main
from ringmill.client.local import cluster_forming
from ringmill.client.local.cluster_forming import Effort, Formed, Shape
from ringmill.client.local.local_state import LocalCluster, LocalNode, make_token, save_cluster
from ringmill.client.values import json_bytes
from ringmill.cluster import errors
from ringmill.cluster.errors import InvalidArgument, QuorumNotReached, RingmillError
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLUSTER", "ENDPOINTS", "HOME", "OUTPUT", "TIMEOUT", "TOKEN"):
        monkeypatch.delenv(f"RINGMILL_{name}", raising=False)
    return tmp_path


def test_the_codes_of_all_errors_are_the_published_ones() -> None:
    published = {
        "CLIENT_CLOSED": 6, "CONFLICT": 4, "CORRUPT_DATA": 1, "DEADLINE_EXCEEDED": 5, "DISK_FULL": 1,
        "INTERNAL": 1,
        "INVALID_ARGUMENT": 2, "JOB_FAILED": 1, "JOB_KILLED": 9, "NOT_FOUND": 3, "OVERLOADED": 1,
        "PERMISSION_DENIED": 1, "PROTOCOL_MISMATCH": 1, "QUORUM_NOT_REACHED": 5, "STALE": 1, "UNAVAILABLE": 6,
        "UNRESOLVED_SIBLINGS": 1, "WRONG_EPOCH": 1,
    }  # fmt: skip
    kinds = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]
    assert {kind.code: int(exit_codes.of(kind("x"))) for kind in kinds} == published


def test_a_bad_argument_that_the_cluster_found_is_a_failure_not_a_misuse() -> None:
    assert exit_codes.of(InvalidArgument("no", detail={"address": "127.0.0.1:1"})) is ExitCode.FAILED
    assert exit_codes.of(InvalidArgument("no")) is ExitCode.USAGE


def test_no_verb_ends_the_process_or_writes_an_exit_code_as_a_number() -> None:
    forbidden = {"exit", "_exit", "Exit", "SystemExit"}
    found = set()
    for path in Path(ringmill.client.cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", getattr(node, "id", ""))
            if name in forbidden:
                found.add(f"{path.name}:{getattr(node, 'lineno', 0)} {name}")
    [caught] = found  # click's own, which becomes a code of ours
    assert caught.startswith("running.py:") and caught.endswith(" Exit")


@pytest.mark.parametrize(("text", "span"), [("5s", 5.0), ("500ms", 0.5), ("2m", 120.0), ("1.5", 1.5)])
def test_time_spans_are_read_as_people_write_them(text: str, span: float) -> None:
    assert seconds(text) == span


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 parsecs", "1e3"])
def test_other_time_spans_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a time span"):
        seconds(text)


def test_the_environment_stands_above_the_files_and_the_nearer_file_above_the_farther(
    tmp_path: Path,
) -> None:
    (tmp_path / "user.toml").write_text('cluster = "u"\nhome = "u"\ntimeout = 1\n')
    (tmp_path / "here.toml").write_text('cluster = "h"\nhome = "h"\n')
    settings = Settings.gathered({"RINGMILL_CLUSTER": "e"}, ["user.toml", "here.toml", "absent.toml"])
    assert (settings.cluster, settings.home, settings.timeout) == ("e", "h", 1.0)
    assert settings.warnings == []


def test_the_settings_are_those_of_the_home_that_the_environment_names_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other" / ".config" / "ringmill" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("clustre = 'typo'\n", encoding="utf-8")
    assert main(["version"]) == 0 and "clustre" not in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    assert main(["version"]) == 0 and "clustre" in capsys.readouterr().err


def test_an_unknown_setting_is_warned_about() -> None:
    (warning,) = Settings.gathered({"RINGMILL_CLUSTRE": "x"}, []).warnings
    assert "RINGMILL_CLUSTRE" in warning and "cluster" in warning


@pytest.mark.parametrize(
    "name",
    [
        "BUNDLE_AGE",
        "BUNDLE_BYTES",
        "HINT_BYTES",
        "HINT_AGE",
        "COMPARE_EVERY",
        "GATE",
        "PURGE_AFTER",
        "PASS_VOTE_AFTER",
    ],
)
def test_what_the_nodes_of_a_local_cluster_read_is_nothing_to_warn_about(name: str) -> None:
    assert Settings.gathered({f"RINGMILL_{name}": "60"}, []).warnings == []


def test_help_and_version_need_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.DONE
    assert main(["put", "--help"]) == ExitCode.DONE
    assert main(["version", "-o", "json"]) == ExitCode.DONE
    assert "ringmill" in json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("line", [["fly"], ["put"], ["get", "k", "--sibling", "0"], ["cluster", "fly"]])
def test_a_misuse_exits_2_in_three_lines(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == ExitCode.USAGE
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3 and told[0].startswith("error: ") and "--help" in told[2]


def test_without_a_cluster_the_next_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "k"]) == ExitCode.UNREACHABLE
    told = capsys.readouterr()
    assert told.out == ""
    assert "cluster up" in told.err


def test_an_error_is_json_on_stderr_when_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "k", "-o", "json"]) == ExitCode.UNREACHABLE
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["exit"], error["outcome"]) == ("UNAVAILABLE", 6, "failed")


def test_an_unreachable_endpoint_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--endpoints", "127.0.0.1:1", "--timeout", "2s", "get", "k"]) == ExitCode.UNREACHABLE
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_missed_quorum_says_who_acked_and_who_did_not(capsys: pytest.CaptureFixture[str]) -> None:
    error = QuorumNotReached.of("put", 3, ["n1", "n4"], {"n3": "UNAVAILABLE"}, outcome="unknown")
    failure_text.tell(error, exit_codes.of(error), Settings())
    what, why, _ = capsys.readouterr().err.splitlines()
    assert "needs 3 owners" in what
    assert "n1, n4" in why and "n3 (UNAVAILABLE)" in why and "unknown" in why


def test_rows_in_a_pipe_are_tab_separated_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(Settings(), {}, ("A", "B"), [("x", None), ("tab\there", 2)])
    assert capsys.readouterr().out == "x\t\ntab\\there\t2\n"


def test_bytes_in_json_are_text_when_they_can_be() -> None:
    assert json_bytes("value", "é".encode()) == {"value": "é"}
    assert json_bytes("value", b"\xff\x00") == {"value_b64": "/wA="}


def test_an_error_without_its_own_hint_still_says_what_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    failure_text.tell(RingmillError("it broke"), ExitCode.FAILED, Settings())
    assert capsys.readouterr().err.splitlines()[2].startswith("  try: ")


def test_each_setting_has_its_origin(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_folder / "ringmill.toml").write_text('cluster = "fromfile"\ntimeout = "2s"\n')
    monkeypatch.setenv("RINGMILL_TIMEOUT", "3s")
    monkeypatch.setenv("RINGMILL_TOKEN", "secret")
    assert main(["--endpoints", "127.0.0.1:9", "-o", "json", "config", "show", "--origin"]) == 0
    told = capsys.readouterr().out
    shown = json.loads(told)
    assert shown["cluster"] == {"value": "fromfile", "origin": "cluster in ringmill.toml"}
    assert shown["timeout"] == {"value": 3.0, "origin": "RINGMILL_TIMEOUT"}
    assert shown["endpoints"] == {"value": "127.0.0.1:9", "origin": "--endpoints"}
    assert shown["output"] == {"value": "json", "origin": "-o"}
    assert shown["base_port"] == {"value": None, "origin": "default"}
    assert shown["token"] == {"value": "(set)", "origin": "RINGMILL_TOKEN"}
    assert "secret" not in told


def test_without_origins_it_is_a_line_for_each(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cluster", "other", "config", "show"]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert rows["cluster"] == "other" and rows["timeout"] == "5s"
    assert rows["home"] == str(empty_folder / ".ringmill")


@pytest.mark.parametrize("form", ["table", "json"])
def test_without_a_verb_there_is_help_or_an_error_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.setenv("RINGMILL_OUTPUT", form)
    assert main([]) == 2
    shown = "".join(capsys.readouterr())
    assert "a verb is missing" in shown if form == "json" else "locate" in shown


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("is_file", [True, False])
def test_a_typed_cluster_leaves_out_the_endpoints_of_another_one_and_their_token(
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_before: bool,
    is_file: bool,
) -> None:
    dev = LocalCluster("dev", str(empty_folder / ".ringmill" / "dev"), 1, 16, (LocalNode("n1", "h:2", ""),))
    save_cluster(dev)
    make_token(dev.folder)
    seen: list[Settings] = []
    monkeypatch.setattr(output, "fields", lambda settings, *_: seen.append(settings))
    if is_file:
        (empty_folder / "ringmill.toml").write_text('endpoints = "h:1"\ntoken = "t"\ntls_ca = "/ca"\n')
    else:
        for name, value in {"ENDPOINTS": "h:1", "TOKEN": "t", "TLS_CA": "/ca"}.items():
            monkeypatch.setenv(f"RINGMILL_{name}", value)
    verb = ["config", "show"]
    for flags in (["--cluster", "dev"], ["--cluster", "dev", "--endpoints", "h:3"], []):
        assert main([*flags, *verb] if is_before else [*verb, *flags]) == 0, capsys.readouterr().err
    named, both, neither = seen
    assert endpoints_of(named) == ["h:2"] and named.tls_ca == ""
    assert cluster_token(named) == (empty_folder / ".ringmill" / "dev" / "token").read_text().strip()
    for each, endpoint in ((both, "h:3"), (neither, "h:1")):
        assert endpoints_of(each) == [endpoint] and each.tls_ca == "/ca" and cluster_token(each) == "t"


def test_a_typed_cluster_is_what_a_verb_on_processes_acts_on(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RINGMILL_ENDPOINTS", "h:1")
    assert main(["cluster", "kill", "n1"]) == 2
    assert "RINGMILL_ENDPOINTS names h:1" in (said := capsys.readouterr().err) and "--cluster" in said
    assert main(["--cluster", "dev", "cluster", "kill", "n1"]) == 3
    assert "no local cluster 'dev'" in capsys.readouterr().err
    assert main(["-o", "json", "--cluster", "dev", "config", "show", "--origin"]) == 0
    shown = json.loads(capsys.readouterr().out)["endpoints"]
    assert shown == {"value": "", "origin": "RINGMILL_ENDPOINTS, left out because of --cluster"}


def test_the_name_of_a_new_cluster_does_not_choose_one(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RINGMILL_ENDPOINTS", "h:1,h:1")
    assert main(["--cluster", "dev", "cluster", "form"]) == 2
    assert "--endpoints names h:1 twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        (("--cluster", "prod"), "cluster typo, not prod"),
        (("--partitions", "64"), "partitions 16, not 64"),
        (("--replicas", "1"), "replicas 2, not 1"),
        ((), ""),
        (("--cluster", "typo", "--partitions", "16", "--replicas", "2"), ""),
    ],
)
def test_a_document_that_is_found_is_compared_with_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: Sequence[str], refusal: str
) -> None:
    """By `check`, which forming calls before it gives the document to others."""
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{i}") for i in (1, 2)]
    found = first_topology("typo", members, partitions=16, n=2)

    async def finds(_: Effort, shape: Shape) -> Formed:
        shape.check(found)
        return Formed(found, ())

    monkeypatch.setattr(cluster_forming, "form", finds)
    code = main(["cluster", "form", "--endpoints", "127.0.0.1:1,127.0.0.1:2", *flags])
    assert code == (2 if refusal else 0)
    assert refusal in capsys.readouterr().err


def test_a_suggested_command_has_its_flags_before_a_key_like_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["touch", "--", "-k"]) == 2
    assert "`ringmill touch --ttl 60s -- -k`" in capsys.readouterr().err


def test_what_opens_the_cluster_is_kept_from_modules_of_callers_but_not_all_of_a_home(
    empty_folder: Path,
) -> None:
    settings = Settings()
    settings.set("token_file", "/etc/token", "--token-file")
    settings.set("tls_key", "/etc/client.key", "--tls-key")
    assert secrets_of(settings) == ["/etc/token", "/etc/client.key", settings.cluster_folder]
    settings.set("home", str(empty_folder.parent), "--home")
    settings.set("cluster", empty_folder.name, "--cluster")
    assert secrets_of(settings) == ["/etc/token", "/etc/client.key"]


def test_the_guide_has_each_exit_code() -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / "guide.md").read_text(encoding="utf-8")
    codes, _, meanings = guide.partition("## Exit codes\n\n")[2].splitlines()[:3]
    assert [int(each) for each in codes.strip("| ").split(" | ")] == [code.value for code in ExitCode]
    assert "reserved" not in meanings
