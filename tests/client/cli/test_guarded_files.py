"""What the command line keeps is its user's alone, and what others may have planted is not believed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

import pytest

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_state import (
    LocalCluster,
    LocalNode,
    load_cluster,
    make_token,
    read_token,
    save_cluster,
)
from ringmill.cluster.adapters.files.private_files import distrust, make_private_folder, replace_private
from ringmill.cluster.errors import CorruptData, PermissionDenied

NODE = LocalNode("n1", "127.0.0.1:7101", "")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _enter(folder: str) -> None:
    with local_cluster.exclusively(folder):
        pass


def cluster_in(home: Path) -> LocalCluster:
    return LocalCluster("c", str(home / "c"), 1, 16, (NODE,))


@pytest.fixture(params=[0o000, 0o002, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    former = os.umask(request.param)
    yield
    os.umask(former)


@pytest.mark.usefixtures("_umask")
def test_folders_token_state_and_logs_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    cluster = cluster_in(home)
    with local_cluster.exclusively(cluster.folder):
        save_cluster(cluster)
        make_token(cluster.folder)
        log = Path(cluster.log_path(NODE))
        processes.spawn(["-c", ""], log_path=str(log), folder=cluster.folder).wait()
    folder = home / "c"
    assert [mode(path) for path in (home, folder, folder / "logs")] == [0o700] * 3
    files = [folder / "token", folder / "cluster.json", folder / ".lock", log]
    assert [mode(path) for path in files] == [0o600] * 4


def test_state_and_token_are_on_the_disk_before_anything_is_done_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    cluster = cluster_in(tmp_path)
    save_cluster(cluster)
    make_token(cluster.folder)
    folder = Path(cluster.folder)
    assert {each.stat().st_ino for each in (folder / "cluster.json", folder / "token", folder)} <= synced


@pytest.mark.parametrize("holds_data", [False, True])
def test_an_empty_token_that_no_node_can_have_used_is_made_anew(tmp_path: Path, holds_data: bool) -> None:
    folder = tmp_path / "c"
    (folder / "n1").mkdir(parents=True)
    (folder / "token").touch(0o600)
    if holds_data:
        (folder / "n1" / "IDENTITY").touch()
    make_token(str(folder))
    token = read_token(str(folder))
    assert (token == "") is holds_data
    make_token(str(folder))
    assert read_token(str(folder)) == token and mode(folder / "token") == 0o600


def test_a_folder_that_was_looser_is_tightened(tmp_path: Path) -> None:
    cluster = cluster_in(tmp_path)
    save_cluster(cluster)
    folder = Path(cluster.folder)
    folder.chmod(0o755)
    Path(cluster.log_path(NODE)).touch(0o644)
    save_cluster(cluster)
    processes.spawn(["-c", ""], log_path=cluster.log_path(NODE), folder=cluster.folder).wait()
    assert (mode(folder), mode(Path(cluster.log_path(NODE)))) == (0o700, 0o600)


@pytest.mark.parametrize("name", [".lock", "cluster.json.new", "token", "logs/n1.log"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    home, target = tmp_path / "home", tmp_path / "precious"
    target.write_text("kept")
    cluster = cluster_in(home)
    make_private_folder(f"{cluster.folder}/logs")
    (Path(cluster.folder) / name).symlink_to(target)
    with (
        pytest.raises((OSError, PermissionDenied), match="symbolic link"),
        local_cluster.exclusively(cluster.folder),
    ):
        save_cluster(cluster)
        make_token(cluster.folder)
        processes.spawn(["-c", ""], log_path=cluster.log_path(NODE), folder=cluster.folder).wait()
    assert target.read_text() == "kept"


@pytest.mark.usefixtures("_umask")
def test_a_secret_for_a_cluster_to_come_is_its_makers_alone_and_replaces_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    assert main(["auth", "new-secret", str(path)]) == 0
    made = path.read_text()
    assert mode(path) == 0o600 and len(made) == 44 and made.endswith("\n")
    assert made.strip() not in "".join(capsys.readouterr()), "it is in the file alone"
    assert main(["auth", "new-secret", str(path)]) == 4
    assert path.read_text() == made
    assert "is there already, and may be the secret of a cluster" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(tmp_path / "planted")
    assert main(["auth", "new-secret", str(tmp_path / "link")]) == 4
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("name", ["token", "cluster.json"])
def test_a_file_that_others_can_write_is_refused_by_name(tmp_path: Path, name: str) -> None:
    cluster = cluster_in(tmp_path)
    save_cluster(cluster)
    make_token(cluster.folder)
    (Path(cluster.folder) / name).chmod(0o666)
    with pytest.raises(PermissionDenied, match=rf"{name} is not trusted: .* written by every user"):
        load_cluster(cluster.folder)
        read_token(cluster.folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_owns_is_refused_by_name(tmp_path: Path) -> None:
    cluster = cluster_in(tmp_path / "home")
    save_cluster(cluster)
    make_token(cluster.folder)
    os.chown(f"{cluster.folder}/token", 65534, 65534)
    with pytest.raises(PermissionDenied, match=r"token is not trusted: .* belongs to uid 65534"):
        read_token(cluster.folder)
    os.chown(tmp_path / "home", 65534, 65534)
    with pytest.raises(PermissionDenied, match="home belongs to uid 65534"):
        _enter(cluster.folder)


def test_a_home_that_everybody_can_write_is_refused_with_the_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(PermissionDenied, match="can be written by every user") as caught:
        _enter(str(home / "c"))
    assert f"chmod go-w {home}" in caught.value.hint
    assert os.listdir(home) == []


@pytest.mark.parametrize("where", ["file", "folder"])
def test_settings_that_others_can_write_are_ignored(tmp_path: Path, where: str) -> None:
    path = tmp_path / "ringmill.toml"
    path.write_text('endpoints = "127.0.0.1:9"\n')
    path.chmod(0o600)
    assert Settings.gathered({}, [str(path)]).endpoints == "127.0.0.1:9"
    (path if where == "file" else tmp_path).chmod(0o777)
    settings = Settings.gathered({}, [str(path)])
    assert settings.endpoints == ""
    assert "is ignored" in settings.warnings[0] and "written by every user" in settings.warnings[0]


def test_a_folder_of_ones_own_group_is_trusted(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, os.getegid())
    tmp_path.chmod(0o770)
    assert distrust(str(tmp_path)) == ""


BAD = {
    "no nodes": {"nodes": []},
    "nodes that are no list": {"nodes": 3},
    "a port that is none": {"nodes": [{"id": "n1", "address": "127.0.0.1:abc", "zone": ""}]},
    "an address without a port": {"nodes": [{"id": "n1", "address": "somewhere", "zone": ""}]},
    "an id that leads elsewhere": {"nodes": [{"id": "../n1", "address": "127.0.0.1:7101", "zone": ""}]},
    "a transport that is none": {"peer_transport": "udp"},
    "a pid that is a text": {"nodes": [{"id": "n1", "address": "127.0.0.1:7101", "zone": "", "pid": "1"}]},
    "a node twice": {"nodes": [{"id": "n1", "address": "127.0.0.1:7101", "zone": ""}] * 2},
    "a number as name": {"name": 7},
    "replicas that are a text": {"replicas": "3"},
    "another format": {"format": 2},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
@pytest.mark.parametrize("verb", ["status", "list", "up", "down", "logs", "kill n1"])
def test_a_state_file_of_nonsense_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], verb: str
) -> None:
    home = tmp_path / "home"
    save_cluster(LocalCluster("default", str(home / "default"), 1, 16, (NODE,)))
    path = home / "default" / "cluster.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with chdir(tmp_path), patch.dict(os.environ, {"RINGMILL_HOME": str(home), "HOME": str(tmp_path)}):
        assert main(["cluster", *verb.split()]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and str(path) in said[0], said
    with pytest.raises(CorruptData):
        load_cluster(str(home / "default"))


def test_what_is_missing_in_a_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{}")
    with pytest.raises(CorruptData, match="'format' is missing"):
        load_cluster(str(tmp_path))


def test_a_secret_that_could_not_be_written_leaves_no_draft_of_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("former")
    for failing in ("fsync", "replace"):
        full = OSError(28, "No space left on device")
        with patch.object(os, failing, side_effect=full), pytest.raises(OSError, match="No space"):
            replace_private(str(token), b"next", is_synced=True)
        assert [each.name for each in tmp_path.iterdir()] == ["token"] and token.read_text() == "former"
