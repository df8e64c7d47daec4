"""What `backup list` makes of files that are no backups, and of places that hold none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringmill.client.cli.main import main


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


@pytest.mark.parametrize("verb", ["create", "list", "verify", "prune"])
def test_a_place_in_memory_is_refused_in_the_words_of_backups(
    verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["backup", verb, "memory://x", *(["name"] if verb in ("create", "verify") else [])]) == 2
    told = capfd.readouterr().err
    assert "lies in the memory of this command, and would end with it" in told and "tasks" not in told
