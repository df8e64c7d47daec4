"""Deletes on real processes: nothing is forgotten while an owner is away, no key comes back with it, and then
all deletes are forgotten, of registers as well, and their space returns."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.blocking import Client
from ringmill.client.local.tcp_ports import free_base
from ringmill.client.many_keys import raise_first
from tests.e2e.cli.conftest import Shell
from tests.e2e.waiting import until

NODES = ("n1", "n2", "n3")
KEYS = [f"{{tag {number % 2}}}:{number}" for number in range(120)]


def members(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.ok("-o", "json", "cluster", "status").json["nodes"]
    return found


def views(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.ok("-o", "json", "repair", "status").json
    return found


def disk_bytes(shell: Shell) -> int:
    """Of all logs and tables of the three nodes."""
    files = shell.folder.glob("home/*/n*/store/*")
    return sum(path.stat().st_size for path in files if path.suffix in (".log", ".sst"))


def test_deletes_are_forgotten_when_every_owner_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGMILL_PURGE_AFTER", "1")
    monkeypatch.setenv("RINGMILL_PURGE_AFTER_LEAST", "1")
    shell = Shell(tmp_path)
    start = 20000 + (os.getpid() + 500) % 1000 * 12
    shell.ok("cluster", "up", "--nodes", "3", "--partitions", "16", "--base-port", str(free_base(3, start)))
    try:
        tell_the_story(shell)
    finally:
        shell.ok("cluster", "down")


def tell_the_story(shell: Shell) -> None:
    with Client(members(shell)[0]["address"], timeout=10) as db:
        db.registers.cas("gone", b"a", expect=None)  # first: an owner beyond the majority has it later
        raise_first(db.mput((key, os.urandom(2000)) for key in KEYS))
        db.put("kept", b"kept")
        before = disk_bytes(shell)
        shell.ok("cluster", "kill", "n3")
        for key in KEYS:
            db.delete(key)
        deleted = db.registers.cas("gone", None, expect=b"a")
        until(lambda: "n3 is away" in str([node["purge_held_back"] for node in members(shell)]))
        shell.ok("repair", "run")
        time.sleep(3)  # three rounds of a node
        living = [node for node in members(shell) if node["id"] != "n3"]
        assert [node["tombstones"] for node in living] == [len(KEYS)] * 2
        assert not any(
            view["forgotten"] + view["registers_removed"] for view in views(shell) if "error" not in view
        )
        assert "not forgotten yet" in shell.ok("cluster", "status").err
        shell.ok("cluster", "restart", "n3")
        until(lambda: all(node["tombstones"] == 0 for node in members(shell)))
        shell.run("--timeout", "1s", "repair", "run")  # it would wait for comparisons, too
        until(lambda: disk_bytes(shell) < before / 4)
        assert before > len(KEYS) * 2000
        until(lambda: [node["keys"] for node in members(shell)] == [1, 1, 1])  # n3 may have missed "kept"
        for key in KEYS[::20]:
            assert db.get(key, default=None, r="all") is None
        assert db.get("kept", r="all").value == b"kept"
        assert all(view["forgotten"] == len(KEYS) for view in views(shell))
        until(lambda: all(view["registers_removed"] for view in views(shell)))
        assert db.registers.get("gone").version == deleted
        assert db.registers.cas("gone", b"b", expect=None) == deleted + 1
