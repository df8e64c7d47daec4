"""`ringmill bench` with options that cannot be: one clear error, and nothing is begun."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringmill.client.cli.main import main

REFUSED = {
    "an unknown workload": (["--workload", "z"], "no workload 'z'"),
    "nothing in flight": (["--in-flight", "0"], "--in-flight"),
    "too much in flight": (["--in-flight", "513"], "--in-flight"),
    "a rate that is no number": (["--rate", "nan"], "--rate nan"),
    "a rate of nothing": (["--rate", "0"], "--rate"),
    "no time": (["--seconds", "0s"], "--seconds 0s"),
    "too much time": (["--seconds", "2h"], "--seconds 2h"),
    "a time that is none": (["--seconds", "soon"], "not a time span"),
    "no operations": (["--operations", "0"], "--operations"),
    "no keys": (["--keys", "0"], "--keys"),
    "an unknown distribution": (["--keys-by", "normal"], "--keys-by"),
    "empty values": (["--value-bytes", "0"], "--value-bytes"),
    "values above the limit": (["--value-bytes", "65537"], "--value-bytes"),
    "a level that is none": (["-w", "many"], "w is 'many'"),
    "an unknown durability": (["--durability", "gone"], "--durability"),
    "a cluster of its own without nodes": (["--local", "0"], "--local"),
    "a cluster of its own that is too large": (["--local", "8"], "--local"),
    "a cluster of its own and another one": (["--local", "1", "--endpoints", "127.0.0.1:1"], "--endpoints"),
    "a cluster of its own and a name": (["--local", "1", "--cluster", "x"], "--cluster"),
    "a word too many": (["n1"], "unexpected extra argument"),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("options", "why"), REFUSED.values(), ids=REFUSED)
def test_an_option_that_cannot_be_is_a_usage_error(
    empty_folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    assert main(["bench", *options]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert [line.split(":")[0] for line in said.splitlines()] == ["error", "  why", "  try"]
    assert os.listdir(empty_folder) == []


def test_a_cluster_that_is_not_there_is_reported_before_anything_is_begun(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench"]) == 6
    assert "ringmill cluster up" in capsys.readouterr().err
