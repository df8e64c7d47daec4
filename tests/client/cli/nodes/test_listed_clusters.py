"""`ringmill cluster list` shows what can be read, beside what cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster


@pytest.mark.parametrize("text", ["", '{"format": 9}'])
def test_a_damaged_cluster_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        save_cluster(LocalCluster(name, str(tmp_path / name), 1, 16, (LocalNode("n1", "127.0.0.1:1", ""),)))
    assert main(["cluster", "list"]) == 0
    (tmp_path / "a" / "cluster.json").write_text(text)
    capsys.readouterr()
    assert main(["cluster", "list"]) == 1
    shown = capsys.readouterr()
    assert shown.out == f"b\t1\t0\t127.0.0.1:1\t{tmp_path / 'b'}\n"
    assert str(tmp_path / "a" / "cluster.json") in shown.err
    assert main(["-o", "json", "cluster", "list"]) == 1
    damaged, sound = json.loads(capsys.readouterr().out)
    assert damaged["cluster"] == "a" and "cluster.json" in damaged["error"]
    assert sound["cluster"] == "b" and sound["nodes"] == 1
