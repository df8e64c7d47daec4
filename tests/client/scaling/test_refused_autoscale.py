"""`cluster autoscale` refuses by the name of the option, and remembers which nodes it has started."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.local import local_launcher
from ringmill.client.local.local_launcher import LocalLauncher
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from ringmill.cluster.errors import Conflict, CorruptData, Unavailable

BOUNDS = "--min 1 --max 2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RINGMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ringmill" / "default"
    path.parent.mkdir(mode=0o700)
    path.mkdir(mode=0o700)
    node = LocalNode("n1", "127.0.0.1:1", "")
    save_cluster(LocalCluster("default", str(path), 1, 16, (node,)))
    return path


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--max 2 --target-cpu 70%", "--min"),
        ("--min 3 --max 2 --target-cpu 70%", "--min is 3 and --max is 2"),
        ("--min 0 --max 2 --target-cpu 70%", "--min"),
        (BOUNDS, "no target is given"),
        (f"{BOUNDS} --target-cpu 70% --target-bytes 1GiB", "2 targets are given"),
        (f"{BOUNDS} --target-cpu 70", "--target-cpu: '70' is not a share"),
        (f"{BOUNDS} --target-cpu 0%", "--target-cpu: '0%' is not a share"),
        (f"{BOUNDS} --target-bytes 10GB", "--target-bytes: '10GB' is not a size"),
        (f"{BOUNDS} --target-p99 20", "--target-p99 20 is not between 0.001 s and 1 s"),
        (f"{BOUNDS} --target-p99 soon", "--target-p99: 'soon' is not a time span"),
        (f"{BOUNDS} --target-cpu 70% --low 100%", "--low is 100% of the target"),
        (f"{BOUNDS} --target-cpu 70% --every 0s", "--every 0s is not between"),
        (f"{BOUNDS} --target-cpu 70% --sustained 2h", "--sustained 2h is not between"),
        (f"{BOUNDS} --target-cpu 70% --cool-down never", "--cool-down: 'never' is not a time span"),
        (f"{BOUNDS} --target-cpu 70% --for 60d", "--for 60d is not between"),
        (f"{BOUNDS} --target-cpu 70% --endpoints 127.0.0.1:1", "--endpoints names 127.0.0.1:1"),
        (f"{BOUNDS} --target-cpu 70% --at 127.0.0.1:1", "No such option '--at'"),
    ],
)
def test_bad_usage_is_reported_by_its_option(
    line: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "autoscale", *line.split()]) == ExitCode.USAGE
    assert named in capsys.readouterr().err


def test_one_command_at_a_time_scales_a_cluster(folder: Path) -> None:
    with (
        LocalLauncher(str(folder), 1.0).alone(),
        pytest.raises(Conflict, match="another"),
        LocalLauncher(str(folder), 1.0).alone(),
    ):
        raise AssertionError("two at once")


def test_what_was_launched_is_read_again_and_a_damaged_record_is_reported(folder: Path) -> None:
    launcher = LocalLauncher(str(folder), 1.0)
    assert launcher.launched() == []
    record = folder / "launched.json"
    record.write_text('{"format": 1, "nodes": ["n4"]}')
    record.chmod(0o600)
    assert LocalLauncher(str(folder), 1.0).launched() == ["n4"]
    for damaged in ("{", '{"format": 9, "nodes": []}', '{"format": 1, "nodes": "n4"}', "[]"):
        record.write_text(damaged)
        with pytest.raises(CorruptData, match=r"launched\.json cannot be read"):
            launcher.launched()


@pytest.mark.parametrize("is_full_for", ["the note", "the start"])
def test_a_full_disk_is_a_start_that_failed(folder: Path, is_full_for: str) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    launcher = LocalLauncher(str(folder), 1.0)
    where = "replace_private" if is_full_for == "the note" else "start_newcomer"
    with (
        patch.object(local_launcher, where, side_effect=full),
        pytest.raises(Unavailable, match=r"was not started: .*No space left"),
    ):
        launcher._start()
    assert launcher.launched() == []
