"""`ringmill top` against a cluster that runs."""

from __future__ import annotations

import json
import signal

from tests.e2e.cli.conftest import Shell


def test_top_shows_what_happens_within_an_interval(shell: Shell) -> None:
    shell.ok("put", "observed", "v")
    shell.until_healthy()
    view = shell.ok("-o", "json", "top", "--once", "--interval", "100ms").json
    assert [node["id"] for node in view["nodes"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert all(node["state"] == "up" and node["reads"]["per_s"] >= 0 for node in view["nodes"])
    assert view["seconds"] >= 0.1 and view["health"] == "ok"
    rows = shell.ok("top", "--once", "--interval", "100ms").out.decode().splitlines()
    assert [row.split("\t")[0] for row in rows] == ["n1", "n2", "n3", "n4", "n5"]


def test_top_prints_a_document_a_look_until_it_is_interrupted(shell: Shell) -> None:
    process = shell.start("-o", "json", "top", "--interval", "100ms")
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline())["cluster"] for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (seen, process.returncode) == (["default", "default"], 130)
    assert json.loads(err.splitlines()[-1])["error"]["message"] == "interrupted" and b"Traceback" not in err


def test_an_invalid_interval_is_refused(shell: Shell) -> None:
    refused = shell.run("top", "--interval", "0s")
    assert refused.code == 2 and "--interval" in refused.err


def test_the_doctor_finds_nothing_wrong_with_a_cluster_that_is_well(shell: Shell) -> None:
    document = shell.ok("-o", "json", "doctor").json
    found = {each["check"]: each for each in document["findings"]}
    assert not document["wrong"]
    assert len(found) == len(document["findings"]) == 24
    assert found["nodes"]["told"] == "5 nodes answer and are up"
    rows = [row.split("\t") for row in shell.ok("doctor").out.decode().splitlines()]
    assert [row[1] for row in rows] == list(found) and {row[0] for row in rows} <= {"ok", "!"}


def test_the_doctor_asks_nodes_elsewhere_without_looking_at_this_machine(shell: Shell) -> None:
    endpoints = shell.ok("-o", "json", "cluster", "status").json["nodes"][0]["address"]
    found = {
        each["check"] for each in shell.ok("-o", "json", "--endpoints", endpoints, "doctor").json["findings"]
    }
    assert "nodes" in found and not found & {"processes", "folders"}


def test_the_doctor_needs_a_cluster(shell: Shell) -> None:
    assert shell.run("--cluster", "none", "doctor").code == 6
