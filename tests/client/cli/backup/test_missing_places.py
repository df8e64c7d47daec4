"""A folder of backups that is not there is told as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main


@pytest.mark.parametrize("verb", ["list", "prune"])
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_folder_that_is_not_there_has_no_list(
    verb: str, form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "mistyped"
    assert main(["backup", verb, form.format(place)]) == ExitCode.NOT_FOUND
    told = capfd.readouterr()
    assert told.out == "" and f"there is no folder {place}" in told.err
    place.mkdir()
    assert main(["backup", verb, form.format(place)]) == ExitCode.DONE
