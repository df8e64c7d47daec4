"""What `backup list` makes of files that are no backups, and of places that hold none."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.backups import backup_store
from ringmill.client.backups.backup_manifest import _checksum
from ringmill.client.cli.main import main
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology


def test_whatever_cannot_be_read_is_named_and_keeps_no_other_from_the_list(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "place" / "backups"
    folder.mkdir(parents=True)
    (folder / "a name with spaces.json").write_bytes(b"{}")
    (folder / "deep.json").write_bytes(b"[" * 100_000)
    (folder / "folder.json").mkdir()
    (folder / "short.json").write_bytes(b"{")
    assert main(["backup", "list", "place", "-o", "json"]) == 1
    told = capfd.readouterr()
    codes = {each["name"]: each["error"]["code"] for each in json.loads(told.out)}
    assert codes == {
        "a name with spaces": "INVALID_ARGUMENT",
        "deep": "CORRUPT_DATA",
        "folder": "FILE_FAILED",
        "short": "CORRUPT_DATA",
    }
    assert all(f"{name} cannot be read: " in told.err for name in codes)


def manifest(**fields: object) -> bytes:
    """With a right checksum, which has no secret."""
    members = [Member(NodeId("n1"), DiskId("1" * 32), "127.0.0.1:7000")]
    topology = base64.b64encode(first_topology("some", members, partitions=16).encode()).decode()
    usual: dict[str, Any] = {"name": "b", "began_ms": 5, "ended_ms": 6, "holds_w": 2}
    usual |= {"missing": [], "topology": topology, "nodes": []}
    body = {**usual, **fields}
    return json.dumps({"format": 1, "sha256": _checksum(body), "backup": body}).encode()


def test_one_that_somebody_else_has_put_there_keeps_no_other_from_the_list(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backup_store, "_MOST_MANIFEST_BYTES", 100_000)
    folder = tmp_path / "place" / "backups"
    folder.mkdir(parents=True)
    (folder / "good.json").write_bytes(manifest())
    (folder / "endless.json").write_bytes(manifest(began_ms=float("inf")))
    (folder / "late.json").write_bytes(manifest(began_ms=10**16))
    (folder / "large.json").write_bytes(manifest() + b" " * 100_000)
    os.mkfifo(folder / "pipe.json")
    (folder / "device.json").symlink_to("/dev/zero")
    assert main(["backup", "list", "place", "-o", "json"]) == 1
    told = capfd.readouterr()
    codes = {each["name"]: each.get("error", {}).get("code") for each in json.loads(told.out)}
    assert codes == {
        "b": None,
        "endless": "CORRUPT_DATA",
        "late": "CORRUPT_DATA",
        "large": "CORRUPT_DATA",
        "pipe": "FILE_FAILED",
        "device": "FILE_FAILED",
    }
    assert main(["backup", "prune", "place"]) == 1
    assert "device.json" in capfd.readouterr().err, "it deletes nothing, and says what is in its way"


@pytest.mark.parametrize("verb", ["create", "list", "verify", "prune"])
def test_a_place_in_memory_is_refused_in_the_words_of_backups(
    verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["backup", verb, "memory://x", *(["name"] if verb in ("create", "verify") else [])]) == 2
    told = capfd.readouterr().err
    assert "lies in the memory of this command, and would end with it" in told and "tasks" not in told
