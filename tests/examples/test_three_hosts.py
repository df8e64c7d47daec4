"""The script of three hosts says in one line what it lacks, before it makes anything."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "deploy" / "three_hosts" / "three_hosts.py"


@pytest.fixture
def three_hosts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("three_hosts", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "three_hosts", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    return module


def test_what_is_missing_is_one_line(
    three_hosts: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert three_hosts.main() == 2
    assert capsys.readouterr().err == "three_hosts: needs root, to make network namespaces\n"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert three_hosts.main() == 2
    assert capsys.readouterr().err == "three_hosts: needs the program ip (package iproute2)\n"
