"""Pipelines and iterations in one process: what is fed on, what shows, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ringmill import (
    FileInput,
    FileOutput,
    KvOutput,
    Source,
    iterate,
    job,
    join,
    pipeline,
    read_result,
    run_local,
)
from ringmill.client.engines.elsewhere import elsewhere
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from tests.cluster.mapreduce import chain_jobs, sample_jobs
from tests.cluster.mapreduce.chain_jobs import counts, halves, order

ranking = job(map=chain_jobs.by_count, input=FileInput("records"))
ANY: Any = object()
TEXT = "a b c a b a d\n" * 500 + "b e\n" * 300


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "in").mkdir()
    for name in "xy":
        (tmp_path / "in" / name).write_text(TEXT)
    return str(tmp_path / "in")


def lines(folder: Path) -> list[str]:
    return [line for part in sorted(folder.glob("part-*")) for line in part.read_text().splitlines()]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_pipeline_feeds_each_job_what_the_one_before_has_given(
    tmp_path: Path, text: str, processes: int
) -> None:
    result = run_local(chain_jobs.most_frequent, text, str(tmp_path / "out"), processes=processes)
    expected = Counter(TEXT.split() * 2).most_common()
    assert lines(tmp_path / "out") == [f"{word}\t{count}" for word, count in expected]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out"], "nothing is left beside it"
    assert result.records["map_in"] == 1600 + 5
    some = run_local(
        chain_jobs.most_frequent, text, str(tmp_path / "out"), params={"without": "a"}, overwrite=True
    )
    assert [Path(part).name for part in some.parts] == ["part-00000"]
    assert lines(tmp_path / "out")[0] == "b\t2600"


def test_an_iteration_ends_with_the_round_that_counts_nothing(tmp_path: Path, text: str) -> None:
    result = run_local(chain_jobs.halved_until_one, text, str(tmp_path / "out"))
    found = {each["key"]: each["value"] for each in map(json.loads, lines(tmp_path / "out"))}
    assert found == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1}, "in the format of its step"
    assert result.counters["rounds"] == 5 * 10  # ten rounds are the most
    again = run_local(
        pipeline(counts, iterate(halves, max=1000, until="moved")), text, str(tmp_path / "more")
    )
    assert again.counters["rounds"] == 5 * 12


@pytest.mark.parametrize("processes", [1, 2])
def test_a_function_ends_the_rounds_by_what_they_have_counted_and_given(
    tmp_path: Path, text: str, processes: int
) -> None:
    out = str(tmp_path / "out")
    result = run_local(chain_jobs.halved_until_small, text, out, processes=processes)
    found = dict(line.split("\t") for line in lines(tmp_path / "out"))
    assert result.counters["rounds"] == 5 * 5 and found["a"] == "93", "3,000 is below 100 after five rounds"
    run_local(chain_jobs.halved_until_small, text, out, params={"below": "2"}, overwrite=True)
    assert {line.split("\t")[1] for line in lines(tmp_path / "out")} == {"1"}


def test_a_function_that_fails_or_says_neither_ends_the_job(tmp_path: Path, text: str) -> None:
    for until, message in (
        (chain_jobs.failing, "until, attempt 1: UserError: ValueError: round 1 cannot be judged\n.*failing"),
        (chain_jobs.confused, "until of round 1 must say True or False, not"),
    ):
        with pytest.raises(JobFailed, match=message):
            run_local(pipeline(counts, iterate(halves, max=2, until=until)), text, str(tmp_path / "out"))
        assert sorted(each.name for each in tmp_path.iterdir()) == ["in"], "nothing is left"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_behind_another_joins_what_it_gets_with_an_input_of_its_own(
    tmp_path: Path, text: str, processes: int
) -> None:
    (tmp_path / "weights").write_text("a 2\nc 10\n")
    both = {"input": text, "weights": str(tmp_path / "weights")}
    run_local(chain_jobs.weighed_twice, both, str(tmp_path / "out"), processes=processes)
    counted = Counter(TEXT.split() * 2)
    expected = {word: count * {"a": 4, "c": 100}.get(word, 1) for word, count in counted.items()}
    in_order = sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))
    assert lines(tmp_path / "out") == [f"{word}\t{count}" for word, count in in_order]
    with pytest.raises(InvalidArgument, match="no input for weights; the job reads input, weights"):
        run_local(chain_jobs.weighed_twice, {"input": text}, str(tmp_path / "more"))
    with pytest.raises(InvalidArgument, match="names no file"):
        run_local(chain_jobs.weighed_twice, {**both, "weights": "/no/such"}, str(tmp_path / "more"))
    alone = {"counts": str(tmp_path / "kept"), "weights": both["weights"]}
    run_local(replace(counts, output=FileOutput("records")), text, str(tmp_path / "kept"))
    run_local(pipeline(chain_jobs.weighing, order), alone, str(tmp_path / "alone"))
    assert lines(tmp_path / "alone")[0] == "c\t10000", "where it is the first, it names both inputs"


def test_stages_without_a_record_feed_the_next_ones_nothing(tmp_path: Path) -> None:
    """Where nothing reduces a stage without splits has no part at all."""
    (tmp_path / "in").write_text("")
    first = job(map=chain_jobs.words, params={"without": ""}, reducers=0)
    again = job(map=chain_jobs.kept, input=FileInput("records"), reducers=0)
    run_local(pipeline(first, again, again), str(tmp_path / "in"), str(tmp_path / "mapped"))
    assert [each.name for each in (tmp_path / "mapped").iterdir()] == ["_SUCCESS"]
    run_local(pipeline(first, again, order), str(tmp_path / "in"), str(tmp_path / "reduced"))
    assert (tmp_path / "reduced" / "part-00000").read_bytes() == b""
    stored = replace(again, output=FileOutput("records"))
    run_local(stored, str(tmp_path / "mapped"), str(tmp_path / "stored"))
    assert list(read_result(stored, str(tmp_path / "stored"))) == []


def test_the_stages_can_be_run_one_by_one(tmp_path: Path, text: str) -> None:
    kept = job(map=chain_jobs.words, reduce=counts.reduce_fold.fold, params={"without": ""}, reducers=3,  # type: ignore[union-attr]
               output=FileOutput("records", "zstd"))  # fmt: skip
    run_local(kept, text, str(tmp_path / "kept"))
    assert dict(read_result(kept, str(tmp_path / "kept"))) == Counter(TEXT.split() * 2)
    run_local(order, str(tmp_path / "kept"), str(tmp_path / "by hand"))
    run_local(chain_jobs.most_frequent, text, str(tmp_path / "chained"))
    assert lines(tmp_path / "by hand") == lines(tmp_path / "chained")
    with pytest.raises(InvalidArgument, match="writes 'tsv'"):
        list(read_result(order, str(tmp_path / "by hand")))
    with pytest.raises(InvalidArgument, match="no typed records"):
        list(read_result(kept, text))
    with pytest.raises(JobFailed, match="no typed records"):
        run_local(order, text, str(tmp_path / "wrong"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipeline, "1 to 100 jobs"),
        (lambda: pipeline(counts, ANY), "1 to 100 jobs"),
        (lambda: pipeline(replace(counts, output=KvOutput()), order), "only the last job .* a keyspace"),
        (lambda: pipeline(counts, sample_jobs.folded), "reads 'lines'; behind another job"),
        (
            lambda: pipeline(counts, ranking, order),
            r"gives a key of type tuple\[int, str\], map .* takes str",
        ),
        (lambda: iterate(ranking, max=3), r"by_count\(\) gives a key of type tuple"),
        (
            lambda: pipeline(replace(counts, side={"x": "/a"}), replace(order, side={"x": "/b"})),
            "side data x is /a in one job, and /b in another",
        ),
        (lambda: iterate(halves, max=0), "1 to 1000 rounds, not 0"),
        (lambda: iterate(halves, max=2, until=ANY), "name of a counter"),
        (lambda: iterate(ANY, max=2), "iterate takes a job"),
        (
            lambda: pipeline(
                counts,
                join(
                    Source("counts", map=chain_jobs.kept, input=FileInput("records")),
                    Source("weights", map=chain_jobs.weight),
                    strategy="broadcast",
                ),
            ),
            "that is there when the pipeline is submitted",
        ),
        (lambda: pipeline(chain_jobs.weighing, order, counts), "reads 'lines'"),
        (
            lambda: pipeline(job(map=chain_jobs.words, params={"without": ""}, on_bad_record="quarantine:1")),
            "sets no bad records aside",
        ),
        (
            lambda: job(map=chain_jobs.by_count, input=FileInput("records"), order="total"),
            "samples the input",
        ),
    ],
)
def test_what_cannot_be_chained_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()


def test_the_memory_of_tasks_is_not_that_of_a_pipeline() -> None:
    with pytest.raises(InvalidArgument, match="task_memory_mib is a setting of each job of a pipeline"):
        spec_of(
            chain_jobs.most_frequent, job="j-1", module="m", name="n", bundle_sha256="0" * 64,
            inputs=("/in",), output="/out", task_memory_mib=256,
        )  # fmt: skip


def test_a_pipeline_is_refused_by_other_engines() -> None:
    with pytest.raises(InvalidArgument, match="a pipeline runs on a cluster of Ringmill or by run_local"):
        elsewhere(cast("Any", chain_jobs.most_frequent), ANY, ANY)


@pytest.mark.parametrize("setting", [{"reducers": 2}, {"split_mib": 1}, {"on_bad_record": "fail"}])
def test_settings_of_one_job_are_not_those_of_a_pipeline(
    tmp_path: Path, text: str, setting: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match=f"{next(iter(setting))} is a setting of each job"):
        run_local(chain_jobs.most_frequent, text, str(tmp_path / "out"), **setting)
    with pytest.raises(InvalidArgument, match="no parameter other; it has without"):
        run_local(chain_jobs.most_frequent, text, str(tmp_path / "out"), params={"other": "1"})
