"""A task leaves the process that it shares with others as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ringmill import Context, job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.kernel.collector_pace import NEW_OBJECTS, rare_collections
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, run_map
from ringmill.cluster.mapreduce.progress import Progress


def test_the_collectors_pace_is_that_of_before_once_the_last_task_is_over() -> None:
    former = gc.get_threshold()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(rare_collections())
        second.enter_context(rare_collections())
        first.close()
        assert gc.get_threshold()[0] == NEW_OBJECTS, "the other one still runs"
        second.close()
        assert gc.get_threshold() == former


def told(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    ctx.params.update(said=ctx.params.get("said", "") + "x")  # type: ignore[attr-defined]
    yield ctx.params["said"], 1


def test_what_a_task_makes_of_its_parameters_is_not_seen_by_the_next(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text("a line\n")
    definition = job(map=told, params={"of": "the submission"})
    spec = JobSpec.of(
        definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/in",), output="/o"
    )
    [split] = plan_input(spec.readings, files).splits
    for attempt in (1, 2):
        files.mkdir(f"{tmp_path}/{attempt}")
        output = run_map(
            definition, MapAttempt(spec, split, 0, attempt), files, f"{tmp_path}/{attempt}", Progress()
        )
        assert b"xx" not in Path(output.file).read_bytes()
    assert spec.params == {"of": "the submission"}
