"""The load judges its cluster: an honest one has held; one that drops what it acknowledged is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ringmill.client.chaos.chaos_run import ChaosRun
from ringmill.client.cli.chaos import cluster_chaos
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from tests.client.chaos.lying_cluster import loaded


async def test_an_honest_cluster_has_held() -> None:
    load = await loaded()
    assert [judged.breaches for judged in load.judged()] == [(), (), ()]
    assert list(load.witness()) == []


@pytest.mark.parametrize(
    ("lies_about", "of"), [("objects", "object"), ("registers", "register"), ("counters", "counter")]
)
async def test_a_change_that_was_acknowledged_and_dropped_is_told_with_its_history(
    lies_about: str, of: str
) -> None:
    load = await loaded(lies_about)
    assert [judged.checker for judged in load.judged() if not judged.has_held] == [lies_about]
    told = [json.loads(json.dumps(line)) for line in load.witness()]
    assert {line["of"] for line in told} == {of}
    breach = next(judged.breaches[0] for judged in load.judged() if not judged.has_held)
    assert any(repr(line["key"].encode()) in breach for line in told)


@pytest.mark.parametrize(
    ("lies_about", "is_interrupted", "code"),
    [
        ("", False, ExitCode.DONE),
        ("", True, ExitCode.INTERRUPTED),
        ("registers", False, ExitCode.FAILED),
        ("registers", True, ExitCode.FAILED),  # what was seen before Ctrl-C is not lost
    ],
)
def test_the_exit_code_is_the_verdict_and_a_file_has_the_history(
    lies_about: str,
    is_interrupted: bool,
    code: ExitCode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "home" / "default"
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700)
    monkeypatch.setenv("RINGMILL_HOME", str(folder.parent))
    save_cluster(LocalCluster("default", str(folder), 1, 16, (LocalNode("n1", "127.0.0.1:1", ""),)))

    async def carried_out(_: Any, __: Any, run: ChaosRun) -> bool:
        run._load = await loaded(lies_about)
        return is_interrupted

    with (
        patch.object(local_cluster, "node_state", lambda _: "running"),
        patch.object(cluster_chaos, "_carry_out", carried_out),
    ):
        assert main(["-o", "json", "cluster", "chaos", "--seed", "9", "--for", "5s"]) == code
    out = capsys.readouterr().out
    if code == ExitCode.INTERRUPTED:
        assert out == ""
        return
    told = json.loads(out)
    assert (told["seed"], told["verdict"]) == (9, "broken" if lies_about else "held")
    assert [check["checker"] for check in told["checks"] if not check["held"]] == [
        *filter(None, [lies_about])
    ]
    if lies_about:
        lines = Path(told["witness"]).read_text(encoding="utf-8").splitlines()
        assert {json.loads(line)["of"] for line in lines} == {"register"}
    else:
        assert told["witness"] is None
