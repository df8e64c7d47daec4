"""The script of three hosts says in one line what it lacks, before it makes anything; its cables are slow."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.long_form import takes_long

FOLDER = Path(__file__).parent.parent.parent / "examples" / "deploy" / "three_hosts"


def module_of(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def three_hosts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "argv", ["three_hosts.py"])
    return module_of("three_hosts", monkeypatch)


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


def test_a_slow_cable_hands_packets_over_late_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_cables = module_of("slow_cables", monkeypatch)
    here, source = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    target, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, source, target, there:
        for end in (source, there):
            end.setblocking(False)
        cable = slow_cables.Direction(source.fileno(), target.fileno(), 0.1)
        packets = [b"%d" % number for number in range(5)]
        for number, packet in enumerate(packets):
            here.send(packet)
            cable.take(number / 1000)
        cable.hand_over(0.079)
        with pytest.raises(BlockingIOError):
            there.recv(100)
        cable.hand_over(0.125)
        assert [there.recv(100) for _ in packets] == packets
        assert cable.due_at() == float("inf")


@takes_long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
@pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="its cables are TAP devices")
def test_three_hosts_lose_nothing_and_let_no_stranger_in(tmp_path: Path) -> None:
    """One is cut off, each gets another certificate, that of one is revoked, and strangers knock."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "three_hosts.py"), "--seconds", "1"],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    if done.returncode == 2 or "another run" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "2.5 ms on each cable" in done.stdout and "refused, one line each" in done.stdout
    assert done.stdout.rstrip().endswith("lost: 0, not read: 0")
    assert not list(tmp_path.iterdir())
