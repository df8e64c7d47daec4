"""The tool for people who look into files."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.node.storage.__main__ import main
from ringmill.node.storage.check import inspect
from ringmill.node.storage.check.inspect import inspect_folder, verify_folder
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.version import manifest
from ringmill.node.storage.version.manifest import read_current, read_manifest
from ringmill.node.storage.version.version import Version, VersionEdit
from ringmill.simulator.disk.engine_trace import TINY, TurnSpawner


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    files = OsFileSystem()
    where = tmp_path / "data"
    async with await Engine.open(str(where), TINY, files=files, spawner=TurnSpawner()) as engine:
        for number in range(100):
            await engine.wait_writable()
            batch = Batch()
            batch.put(b"key%03d" % number, b"\xffvalue %d" % number)
            batch.delete(b"gone")
            engine.apply(batch)
        await engine.wait_idle()
        await engine.drop_prefix(b"other")
    files.close()
    return where


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_inspect_tells_tables_and_logs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "-o", "json"]) == 0
    found = rows(capsys)
    kinds = [row["what"] for row in found]
    assert kinds[0] == "manifest"
    assert {"table", "log"} <= set(kinds)
    last = [row for row in found if row["what"] == "log"][-1]
    assert last["sealed"] is True
    assert main(["inspect", str(folder)]) == 0
    assert "level 1" in capsys.readouterr().out


def test_dump_shows_every_record_of_each_kind_of_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = []
    for file in sorted(folder.iterdir()):
        if file.suffix in (".log", ".sst") or file.name.startswith("MANIFEST"):
            assert main(["dump", str(file), "-o", "json"]) == 0
            records += rows(capsys)
    values = {row["key"]: row["value_b64"] for row in records if row.get("record") == "put"}
    assert base64.b64decode(str(values["key007"])) == b"\xffvalue 7"
    assert len(values) == 100
    assert any(row.get("record") == "drop prefix" for row in records)
    assert any("edit" in row for row in records)
    assert main(["dump", str(folder / "LOCK")]) == 2


@pytest.mark.parametrize("kind", ["*.sst", "*.log", "MANIFEST-*", "CURRENT"])
def test_verify_finds_the_damaged_byte(folder: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    assert main(["verify", str(folder)]) == 0
    file = next(folder.glob(kind))
    body = bytearray(file.read_bytes())
    body[5] ^= 1
    file.write_bytes(body)
    capsys.readouterr()
    assert main(["verify", str(folder), "-o", "json"]) == 1
    damaged = [row for row in rows(capsys) if row["damages"]]
    assert [row["file"] for row in damaged] == [file.name]


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert main(["inspect", str(tmp_path / "missing")]) == 3
    assert main(["verify", str(tmp_path / "missing")]) == 3


def test_a_folder_without_a_store_is_not_called_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert main(["verify", str(tmp_path)]) == 3
    told = capsys.readouterr()
    assert told.out == "" and "a store in" in told.err and "DATA/store" in told.err


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_store_of_a_later_release_is_not_called_damaged(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(manifest, "MANIFEST_VERSION", manifest.MANIFEST_VERSION - 1)
    assert main([verb, str(folder)]) == 1
    told = capsys.readouterr().err
    assert "PROTOCOL_MISMATCH" in told and "was written by a newer release" in told


def test_errors_and_misuses_are_json_when_json_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line, code in ((["inspect", str(tmp_path / "none")], 3), (["fly"], 2), (["dump"], 2)):
        assert main(["-o", "json", *line]) == code
        error = json.loads(capsys.readouterr().err)["error"]
        assert error["exit"] == code and error["hint"]


def test_verify_misses_a_table_that_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder), "-o", "json"]) == 0
    table = min(folder.glob("*.sst"))
    table.unlink()
    assert main(["verify", str(folder)]) == 1
    assert table.name in capsys.readouterr().out


class BusyFolder(OsFileSystem):
    """Of a node that deletes a table, a log and a manifest as soon as they are listed."""

    def list(self, path: str) -> list[str]:
        return [*super().list(path), "00009997.sst", "00009998.log", "MANIFEST-00009999"]


def test_what_a_running_node_deletes_meanwhile_is_not_damage(folder: Path) -> None:
    files, where = OsFileSystem(), str(folder)
    present = [*verify_folder(files, where)], [*inspect_folder(files, where)]
    busy = BusyFolder()
    assert ([*verify_folder(busy, where)], [*inspect_folder(busy, where)]) == present


def test_a_table_that_is_merged_away_before_it_is_looked_for_is_not_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a manifest that is renewed between a look at its name and one at itself is read anew."""
    files, where, read = OsFileSystem(), str(folder), read_manifest
    asked = list[int]()

    def read_as_before(files: OsFileSystem, folder: str, file_id: int) -> Version:
        asked.append(file_id)
        if len(asked) == 1:
            monkeypatch.setattr(inspect, "read_current", read_current)
            raise FileNotFoundError(2, "renewed", folder)
        version = read(files, folder, file_id)
        if len(asked) > 2:
            return version
        (level, table) = next((n, metas[0]) for n, metas in enumerate(version.levels) if metas)
        merged = replace(table, file_id=9999, smallest=b"zz", largest=b"zzz")
        return version.apply(VersionEdit(added=((level, merged),)))

    monkeypatch.setattr(inspect, "read_current", lambda files, folder: 9998)
    monkeypatch.setattr(inspect, "read_manifest", read_as_before)
    assert not any(row["damages"] for row in verify_folder(files, where))
    assert len(asked) == 3
