"""`ringmill cluster logs` shows records since a time and of a level, from all files of a log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def text(ago: timedelta, level: str, said: str) -> str:
    at = (NOW - ago).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03} {level:<7} ringmill.node  {said}\n"


def in_json(ago: timedelta, level: str, said: str) -> str:
    at = (NOW - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": at, "level": level, "event": "notice", "message": said}) + "\n"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """Of a cluster with two nodes: n1 logs for people, and has three files; n2 logs JSON."""
    home = tmp_path / "home"
    nodes = tuple(LocalNode(f"n{number}", f"127.0.0.1:{number}", "") for number in (1, 2))
    save_cluster(LocalCluster("default", str(home / "default"), 1, 16, nodes))
    folder = home / "default" / "logs"
    folder.mkdir(exist_ok=True)
    oldest, older = folder / "n1.log.2", folder / "n1.log.1"
    oldest.write_text(text(9 * HOUR, "ERROR", "n1-oldest"))
    os.utime(oldest, times=2 * (time.time() - 8 * 3600,))
    older.write_text(text(5 * HOUR, "WARNING", "n1-old") + text(HOUR, "ERROR", "n1-late"))
    with older.open("a") as file:  # more than what is looked at for the last lines alone
        file.writelines(text(HOUR / 2, "INFO", f"n1-{number} {'x' * 1000}") for number in range(100))
    (folder / "n1.log").write_text(text(HOUR / 4, "INFO", "n1-new") + "Fatal Python error: n1-fatal\n")
    (folder / "n2.log").write_text(
        in_json(3 * HOUR, "error", "n2-old")
        + in_json(HOUR, "info", "n2-late")
        + in_json(HOUR, "warning", "n2-new")
    )
    with chdir(tmp_path), patch.dict(os.environ, {"RINGMILL_HOME": str(home), "HOME": str(tmp_path)}):
        yield folder


def shown(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    """What was said in the lines that are shown, each with its node before it."""
    assert main(["cluster", "logs", *flags]) == 0
    found = []
    for line in capsys.readouterr().out.splitlines():
        node, _, said = line.partition("\t")
        word = next(each for each in said.replace('"', " ").split() if each.startswith(f"{node}-"))
        found.append(word)
    return found


def write_later(logs: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """Write these lines when n1's log has been looked at, and press Ctrl-C when it is looked at again."""
    coming = [lines]

    def sleep(_: float) -> None:
        if not coming:
            raise KeyboardInterrupt
        with (logs / "n1.log").open("a") as file:
            file.write(coming.pop())

    monkeypatch.setattr(time, "sleep", sleep)


def test_records_of_a_level_are_found_in_all_files(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--level", "error") == ["n1-oldest", "n1-late", "n1-fatal", "n2-old"]
    assert shown(capsys, "--level", "warning", "n2") == ["n2-old", "n2-new"]
    assert shown(capsys, "--level", "WARNING", "n2") == ["n2-old", "n2-new"], "as it stands in the log"
    assert shown(capsys, "--level", "error", "-n", "1") == ["n1-fatal", "n2-old"]
    assert len(shown(capsys, "--level", "info", "n1")) == 20, "without a time the last ones"


@pytest.mark.parametrize(
    "since",
    ["2h", "7200", (NOW - 2 * HOUR).isoformat(), f"{(NOW - 2 * HOUR).astimezone():%Y-%m-%d %H:%M:%S}"],
    ids=["a span", "seconds", "with a zone", "local"],  # two processes that collect the tests need the same
)
def test_records_since_a_time_are_all_shown(
    logs: Path, capsys: pytest.CaptureFixture[str], since: str
) -> None:
    assert len(shown(capsys, "--since", since, "n1")) == 103
    found = shown(capsys, "--since", since, "--level", "warning")
    assert found == ["n1-late", "n1-fatal", "n2-new"]
    assert shown(capsys, "--since", since, "-n", "1") == ["n1-fatal", "n2-new"]
    assert shown(capsys, "--since", "0s") == []


def test_what_was_asked_for_holds_for_what_comes(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_later(logs, monkeypatch, text(-HOUR, "INFO", "n1-fine") + text(-HOUR, "ERROR", "n1-coming"))
    assert main(["-o", "json", "cluster", "logs", "-f", "--level", "error", "--since", "2h", "n1"]) == 130
    told = [json.loads(line)["line"] for line in capsys.readouterr().out.splitlines()]
    assert [line.split("n1-")[1] for line in told] == ["late", "fatal", "coming"]


def test_eight_digits_are_a_date(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As seconds they would be months."""
    tomorrow = (NOW + 24 * HOUR).astimezone()
    assert shown(capsys, "--since", f"{tomorrow:%Y%m%d}", "n1") == []
    assert shown(capsys, "--since", f"{tomorrow:%Y}0101") == shown(capsys, "--since", f"{tomorrow:%Y}-01-01")


def test_what_comes_is_shown_though_the_clock_was_set_back(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_later(logs, monkeypatch, text(4 * HOUR, "ERROR", "n1-coming"))
    assert main(["cluster", "logs", "-f", "--since", "0s", "n1"]) == 130
    assert "n1-coming" in capsys.readouterr().out


@pytest.mark.parametrize("since", ["soon", "25:00", "5 minutes", "-5m", ""])
def test_a_time_that_is_none_is_one_clear_error(
    logs: Path, capsys: pytest.CaptureFixture[str], since: str
) -> None:
    assert main(["cluster", "logs", "--since", since]) == 2
    told = capsys.readouterr()
    assert "neither a time span nor a date and time" in told.err and "--since 10m" in told.err
    assert told.out == ""
