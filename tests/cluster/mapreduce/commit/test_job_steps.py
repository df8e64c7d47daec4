"""What planning a job refuses before anything is made for it."""

from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit import job_steps
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split, check_slices


@pytest.mark.parametrize("is_stage", [False, True])
def test_a_plan_that_fits_into_no_message_is_refused_with_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stage: bool
) -> None:
    files = [InputFile(f"/in/{'x' * 1_000_000}{number}", 1, 1) for number in range(17)]
    splits = tuple(Split(at, (Piece(file, 0, 1),), len(files)) for at, file in enumerate(files))
    monkeypatch.setattr(job_steps, "plan_input", lambda *_, **__: InputPlan(splits))
    spec = JobSpec(
        job="job-1", module="m", name="n", bundle_sha256="", inputs=("/in",), output=f"{tmp_path}/out",
        input_format="lines", output_format="tsv", reducers=1, overwrite=False, params={},
    )  # fmt: skip
    step = job_steps.plan_stage if is_stage else job_steps.plan_job
    with pytest.raises(InvalidArgument, match=r"has 17\d{6} bytes, for 17 files or pieces of files in 17"):
        step(spec, OsFileSystem())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_stage", [False, True])
def test_more_splits_times_reducers_than_a_coordinator_can_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stage: bool
) -> None:
    splits = tuple(Split(at, (Piece(InputFile("/in", 1000, 1), at, at + 1),), 1000) for at in range(2000))
    monkeypatch.setattr(job_steps, "plan_input", lambda *_, **__: InputPlan(splits))
    reducers = 4001 if is_stage else 1001
    spec = JobSpec(
        job="job-1", module="m", name="n", bundle_sha256="", inputs=("/in",), output=f"{tmp_path}/out",
        input_format="lines", output_format="tsv", reducers=reducers, overwrite=False, params={},
    )  # fmt: skip
    step = job_steps.plan_stage if is_stage else job_steps.plan_job
    with pytest.raises(
        InvalidArgument,
        match=rf"2000 splits for {reducers} reducers make {2000 * reducers} slices",
    ) as refused:
        step(spec, OsFileSystem())
    assert "split_mib" in refused.value.hint
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidArgument, match="409600000 slices"):
        check_slices(100_000, 4096)
    check_slices(1000, 2000)
