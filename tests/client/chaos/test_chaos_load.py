"""The load judges its cluster: an honest one has held; one that drops what it acknowledged is found out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest

from ringmill.client.chaos.chaos_load import ChaosLoad, Spaces
from ringmill.client.chaos.chaos_run import ChaosOptions, ChaosRun
from ringmill.client.chaos.load_tally import LoadTally
from ringmill.client.checked import merging_caller
from ringmill.client.cli.chaos import cluster_chaos
from ringmill.client.cli.chaos.chaos_view import ChaosLine
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster
from ringmill.client.local.checked_load import KeyStep
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from ringmill.cluster.errors import Unavailable
from tests.client.chaos.lying_cluster import loaded


async def test_an_honest_cluster_has_held() -> None:
    load = await loaded()
    assert [judged.breaches for judged in load.judged()] == [(), (), ()]
    assert list(load.witness()) == []


class Silent:
    """Keys, registers or counters of a cluster in which nobody answers."""

    def __getattr__(self, name: str) -> Any:
        async def asked(*_: Any, **__: Any) -> None:
            raise Unavailable("nobody answers")

        return asked


@pytest.mark.parametrize(
    ("lies_about", "of"), [("objects", "object"), ("registers", "register"), ("counters", "counter")]
)
async def test_a_change_that_was_acknowledged_and_dropped_is_reported_with_its_history(
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


async def test_a_load_to_which_nothing_was_acknowledged_has_not_held() -> None:
    load = ChaosLoad(Spaces(*[cast("Any", Silent())] * 3), 7, LoadTally())
    with patch.object(merging_caller, "AsyncCounters", lambda space: space):
        assert all(judged.has_held for judged in load.judged()), "it has not been asked yet"
        working = asyncio.create_task(load.work(lambda: False))
        await asyncio.sleep(0.05)
        working.cancel()
        await asyncio.wait([working])
        assert all(judged.has_held for judged in load.judged()), "an interrupt is no breach"
        await load.work(lambda: True)
    assert [judged.breaches for judged in load.judged()] == [("no change was acknowledged",)] * 3


async def test_an_error_that_no_fault_excuses_breaks_the_verdict() -> None:
    tally = LoadTally()
    run = ChaosRun("/nowhere", ["n1"], ChaosOptions(9, "t", ("kill",), 1, 1.0, 5.0), ChaosLine(5.0), 1, tally)
    assert all(judged.has_held for judged in run.verdicts())
    tally.note(KeyStep("put", b"k", 1, 1.0, 2.0, outcome="unknown", error="INTERNAL: KeyError: 'row'"))
    assert [judged.checker for judged in run.verdicts() if not judged.has_held] == ["answers"]
