"""A job's module that does not import on a node is the fault of its author, however it ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.kernel.task import job_from_bundle


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sys.exit('set KEY')", "SystemExit: set KEY"),
        ("sys.exit(2)", "SystemExit: 2"),
        ("1 / 0", "Zero"),
    ],
)
def test_a_module_that_ends_while_it_is_imported_fails_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, told: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "ending_job.py").write_text(f"import sys\n\n{line}\n")
    with pytest.raises(TaskFailed) as failed:
        job_from_bundle(str(tmp_path), "ending_job", "mine")
    assert failed.value.cause is Cause.USER_ERROR
    assert f"module ending_job does not import: {told}" in failed.value.message
    assert [frame.partition(" in ")[0] for frame in failed.value.frames] == [f"{tmp_path}/ending_job.py:3"]
