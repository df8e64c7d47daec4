"""Tokens with roles on a real node: issued by the command line, held by clients, revoked under a session; and
another secret for the cluster.

The cluster is this module's own, as it comes to require a token.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmill.client.blocking import Client
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.errors import PermissionDenied, Unavailable
from ringmill.cluster.ring.access.access_entries import OPEN_TO_ALL
from tests.e2e.cli.conftest import Shell

WORDCOUNT = "examples/wordcount.py:wordcount"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("auth"))
    base = free_base(1, 20000 + os.getpid() % 1000 * 12)
    shell.ok("cluster", "up", "--nodes", "1", "--base-port", str(base))
    yield shell
    shell.ok("cluster", "down")


@pytest.fixture(scope="module")
def address(shell: Shell) -> str:
    status = shell.ok("cluster", "status", "-o", "json").json
    return str(status["nodes"][0]["address"])


@pytest.fixture(scope="module")
def tokens(shell: Shell) -> dict[str, str]:
    """A token of each role, by role; each is printed once, alone on stdout."""
    return {
        role: shell.ok("auth", "issue", f"the-{role}", "--role", role, "--expires", "30d")
        .out.decode()
        .strip()
        for role in ("read", "write", "jobs", "admin")
    }


def denied(shell: Shell, address: str, token: str, *line: str) -> str:
    """What a client that has this token alone is told."""
    ended = shell.run("--endpoints", address, "--token-file", held(shell, token), *line, "-o", "json")
    assert (ended.code, ended.error["code"], ended.error["outcome"]) == (1, "PERMISSION_DENIED", "failed"), (
        ended
    )
    return str(ended.error["message"])


def held(shell: Shell, token: str) -> str:
    path = shell.folder / f"held-{token[4:20]}"
    path.write_text(f"{token}\n")
    return path.name


def opened(address: str, token: str) -> Client:
    return Client(address, token=token)


def test_each_role_opens_what_it_says(shell: Shell, address: str, tokens: dict[str, str]) -> None:
    with opened(address, tokens["write"]) as writer, opened(address, tokens["read"]) as reader:
        writer.put("k", b"v")
        assert reader.get("k").value == b"v"
        with pytest.raises(
            PermissionDenied, match="needs the role write; the token the-read has the role read"
        ):
            reader.put("k", b"w")
        assert [key for key, *_ in reader.scan()] == [b"k"]
        assert reader.topology.access == OPEN_TO_ALL, "no client is told the keys of tokens"
        with pytest.raises(PermissionDenied, match="needs the role jobs; the token the-write"):
            writer.jobs.list()
    assert "Keyspaces/Create needs the role admin" in denied(
        shell, address, tokens["jobs"], "keyspace", "create", "x"
    )
    assert "Auth/List needs the role admin" in denied(shell, address, tokens["jobs"], "auth", "list")
    with opened(address, tokens["admin"]) as boss:
        assert boss.keyspaces.create("x").changed
        assert [each.state for each in boss.auth.list().tokens] == ["in force"] * 4
        assert boss.status().nodes[0].denied


def test_whoever_has_the_role_jobs_runs_one(shell: Shell, address: str, tokens: dict[str, str]) -> None:
    source = shell.folder / "in.txt"
    source.write_text("a b a\n")
    root = Path(__file__).parents[4]
    line = ("job", "run", str(root / WORDCOUNT), "--input", str(source), "--output", "out", "-o", "json")
    held_by = ("--endpoints", address, "--token-file", held(shell, tokens["jobs"]))
    assert shell.ok(*held_by, *line).json["state"] == "SUCCEEDED"
    assert "Jobs/PutBundle needs the role jobs" in denied(shell, address, tokens["write"], *line[:-2])


def test_once_a_token_is_required_nobody_reads_without_one_and_revoked_is_revoked(
    shell: Shell, address: str, tokens: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))  # where no token is found
    with opened(address, "") as nobody, opened(address, tokens["write"]) as writer:
        nobody.put("k", b"v")
        assert shell.ok("auth", "require", "on").out.startswith(b"on")
        for ask in (
            lambda: nobody.get("k"),
            lambda: nobody.put("k", b"w"),
            nobody.keyspaces.list,
            nobody.auth.list,
        ):
            with pytest.raises(PermissionDenied, match="a token is missing"):
                ask()
        writer.put("k", b"x")
        shell.ok("auth", "revoke", "the-write")
        with pytest.raises(PermissionDenied, match="the token the-write "):
            writer.put("k", b"y")
        with pytest.raises(PermissionDenied, match="was revoked"):
            writer.keyspaces.list()
    assert shell.ok("get", "k").out == b"x\n", "the cluster's token, which the folder has, opens all"
    shell.ok("cluster", "up"), shell.ok("cluster", "restart", "n1")
    assert shell.ok("auth", "require", "show", "-o", "json").json == {"required": True}
    assert "was revoked" in denied(shell, address, tokens["write"], "get", "k")
    with opened(address, tokens["read"]) as reader:
        assert reader.get("k").value == b"x"


def test_a_gateway_lets_in_who_shows_a_token_by_either_door(shell: Shell, tokens: dict[str, str]) -> None:
    """A token is required by now, and the-write was revoked."""
    shell.ok("keyspace", "create", "redis0", "--kind", "registers")
    shell.ok("keyspace", "create", "redis0-keys")
    gateway = shell.start("gateway", "--http", "0", "--redis", "0", "--metrics", "0", "--log-format", "json")
    assert gateway.stdout is not None and gateway.stderr is not None
    url, place, metrics = (gateway.stdout.readline().decode().split()[1] for _ in range(3))
    unknown = tokens["read"][:4] + "9" * 16 + tokens["read"][20:]
    bad = 'Bearer realm="ringmill", error="invalid_token"'
    expected = {
        "": (401, 'Bearer realm="ringmill"', "-NOAUTH"),
        "made up": (401, bad, "-WRONGPASS"),
        unknown: (401, bad, "-WRONGPASS"),
        tokens["write"]: (401, bad, "-WRONGPASS"),
        tokens["read"]: (403, None, "-NOPERM"),
        tokens["admin"]: (200, None, "+OK"),
    }
    for token, (status, challenge, said) in expected.items():
        assert told_by_http(url, "PUT", token) == (status, challenge), token
        assert told_by_redis(place, token).startswith(said), token
    assert told_by_http(url, "GET", tokens["read"]) == (200, None)
    with urllib.request.urlopen(metrics, timeout=20) as answer:
        served = answer.read().decode()
    assert 'ringmill_gateway_requests_total{door="http",request="putKey",status="401"} 4.0' in served
    assert 'ringmill_gateway_requests_total{door="redis",request="SET",status="ok"} 1.0' in served
    gateway.terminate()
    assert gateway.wait(20) == 0
    logged = [json.loads(line) for line in gateway.stderr]
    assert [each["message"] for each in logged if each["event"] == "gateway.listening"] == [
        f"a door is open at {each}" for each in (url, place, metrics)
    ]  # fmt: skip
    assert logged[-1]["event"] == "gateway.stopping" and {each["node"] for each in logged} == {"gateway"}
    assert not any(token and token in str(logged) for token in expected), "no token is in the log"


def told_by_http(url: str, method: str, token: str) -> tuple[int, str | None]:
    """The status of a request with this token, and what it is asked to show."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    place, body = f"{url}/v1/kv/default/door", b"v" if method == "PUT" else None
    request = urllib.request.Request(place, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("WWW-Authenticate")


def told_by_redis(place: str, token: str) -> str:
    """What AUTH is refused with, or the SET behind it is answered."""
    with socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2])), timeout=20) as caller:
        answers = caller.makefile("r")
        if token:
            caller.sendall(f'AUTH "{token}"\r\n'.encode())
            told = answers.readline()
            if told != "+OK\n":
                return told
        caller.sendall(b"SET door v\r\n")
        return answers.readline()


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (lambda token: token[:4] + "9" * 16 + token[20:], "PERMISSION_DENIED", "knows no token"),
        (lambda token: token[:-2], "INVALID_ARGUMENT", "damaged"),
        (lambda token: token[:-64] + "0" * 64, "UNAVAILABLE", "did not prove"),
    ],
    ids=["unknown", "damaged", "wrong secret"],
)
def test_an_invalid_token_is_refused_with_what_is_wrong(
    shell: Shell, address: str, tokens: dict[str, str], change: object, code: str, why: str
) -> None:
    assert callable(change)
    wrong = change(tokens["read"])
    ended = shell.run("--endpoints", address, "--token-file", held(shell, wrong), "get", "k", "-o", "json")
    assert (ended.error["code"], ended.error["outcome"]) == (code, "failed")
    assert why in ended.error["message"] and wrong[-60:] not in ended.err


def test_a_name_in_force_is_not_given_again(shell: Shell, tokens: dict[str, str]) -> None:
    assert tokens
    again = shell.run("auth", "issue", "the-read", "--role", "read", "-o", "json")
    assert (again.code, again.error["code"]) == (4, "CONFLICT")
    assert shell.run("auth", "revoke", "nobody").code == 3
    assert shell.run("auth", "issue", "x", "--role", "root").code == 2


def test_the_secret_is_rotated_under_a_client_that_writes_and_the_former_opens_nothing(
    shell: Shell, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule F9: who found the token in its file goes on, and who was given it has time for the new one."""
    monkeypatch.setenv("RINGMILL_HOME", str(shell.folder / "home"))
    file = shell.folder / "home" / "default" / "token"
    former, has_ended = file.read_text().strip(), threading.Event()
    acked: list[object] = []

    def write() -> None:
        with Client(address) as db:
            while not has_ended.is_set():
                db.put(f"rotated-{len(acked)}", b"v")
                acked.append(db.keyspaces.list())

    not_begun = shell.run("auth", "rotate-secret", "--finish", "-o", "json")
    assert (not_begun.code, not_begun.error["code"]) == (4, "CONFLICT")
    writer = threading.Thread(target=write)
    writer.start()
    with opened(address, former) as given:
        given.put("k", b"1")
        begun = shell.ok("auth", "rotate-secret", "-o", "json").json
        assert begun["former_is_accepted"] and begun["members"] == ["n1"]
        now, others = file.read_text().split("\n", 1)
        assert others == f"former {former}\n" and now != former
        given.put("k", b"2")
        assert second_secret(shell) == "warning"
        with opened(address, former) as late, opened(address, now) as early:
            late.put("k", b"3"), early.put("k", b"4")
        assert shell.ok("auth", "rotate-secret", "--finish", "-o", "json").json["former_is_accepted"] is False
        assert file.read_text() == f"{now}\n" and file.stat().st_mode & 0o777 == 0o600
        with pytest.raises(Unavailable):  # which may still meet the stream that the node is closing
            given.put("k", b"5")
        with pytest.raises(Unavailable, match="did not prove"):
            given.put("k", b"6")
    done = len(acked)
    assert "did not prove" in unproved_by(shell, address, former)
    assert second_secret(shell) == "ok"
    with opened(address, now) as new:
        assert b"4" in new.get("k").siblings
    has_ended.set()
    writer.join()
    assert len(acked) >= done > 0, "the thread ends at the first error"
    with Client(address) as db:
        assert all(db.get(f"rotated-{each}").value == b"v" for each in range(len(acked)))


def second_secret(shell: Shell) -> str:
    """What the doctor says of it."""
    findings = shell.run("doctor", "-o", "json").json["findings"]
    return next(str(each["verdict"]) for each in findings if each["check"] == "secret")


def unproved_by(shell: Shell, address: str, token: str) -> str:
    ended = shell.run("--endpoints", address, "--token-file", held(shell, token), "get", "k", "-o", "json")
    assert (ended.error["code"], ended.error["outcome"]) == ("UNAVAILABLE", "failed")
    return str(ended.error["message"])
