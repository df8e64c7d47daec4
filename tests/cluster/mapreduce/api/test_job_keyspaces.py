"""What a job may say of the keyspaces that it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill import FileInput, KvInput, KvOutput, Source, Sum, job, read_output, run_local
from ringmill.client.jobs.job_ends import OutputEnd, checked_inputs, checked_output
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.keyspace_records import encode_records


def counts(key: str, value: str) -> Iterator[tuple[str, int]]:
    yield key, len(value)


def numbered(key: int, value: str) -> Iterator[tuple[int, str]]:
    yield key, value


def alone(key: str, value: str) -> Iterator[tuple[str, None]]:
    yield key, None


def strange(key: str, value: tuple[int, int]) -> Iterator[tuple[str, int]]:
    yield key, 1


def batches(lines: list[str]) -> Iterable[tuple[str, int]]:
    return [(line, 1) for line in lines]


BOTH = job(map=counts, reduce=Sum(), input=KvInput(), output=KvOutput())
NAMED = job(map=counts, input=KvInput("users", prefix=b"eu:\xff"), output=KvOutput("sizes"))
FILES = job(map=numbered)
SEVERAL = job(sources=[Source("a", map=numbered)])


def test_a_keyspace_is_named_with_or_without_a_prefix() -> None:
    assert KeyspacePath.of("kv:users") == ("users", b"")
    assert KeyspacePath.of("kv:users/a/b\udcff") == ("users", b"a/b\xff")
    assert str(KeyspacePath("users", b"a/b\xff")) == "kv:users/a/b\udcff"
    for wrong in ("kv:", "users", "kv:/a", "kv:users/" + "x" * 1025, "kv:users/\ud800"):
        with pytest.raises(InvalidArgument):
            KeyspacePath.of(wrong)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"map": numbered, "input": KvInput()}, "a key of type str or bytes"),
        ({"map": strange, "input": KvInput()}, "map takes tuple"),
        ({"map_batch": batches, "input": KvInput()}, "a key at a time"),
        ({"map": counts, "input": KvInput(), "order": "total"}, "samples the input"),
        ({"map": numbered, "output": KvOutput()}, "keys of a keyspace are str or bytes"),
        ({"map": alone, "input": KvInput(), "output": KvOutput()}, "a keyspace keeps values"),
    ],
)
def test_a_job_that_no_keyspace_suits_is_refused_when_it_is_declared(given: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        job(**given)


def test_what_is_not_there_yet_is_refused_by_name() -> None:
    consistency: Any = "strict"
    with pytest.raises(InvalidArgument, match="'strict' is unknown; there are quorum, one, snapshot"):
        KvInput(consistency=consistency)
    mode: Any = "append"
    with pytest.raises(InvalidArgument, match="'append' is unknown; there are merge, replace"):
        KvOutput(mode=mode)
    with pytest.raises(InvalidArgument, match="without a keyspace"):
        KvInput(prefix=b"a")
    text: Any = "a"
    with pytest.raises(InvalidArgument, match="prefix is of type str; it must be bytes"):
        KvInput("users", prefix=text)


def test_a_submission_names_keyspaces_or_leaves_them_to_the_job() -> None:
    assert checked_inputs(BOTH, "kv:users/a") == ("kv:users/a",)
    assert checked_inputs(NAMED, None) == checked_inputs(NAMED, ()) == ("kv:users/eu:\udcff",)
    assert checked_inputs(NAMED, iter(["kv:other"])) == ("kv:other",)
    folder, keyspace, *_ = checked_output(NAMED, None, "job-1", overwrite=False)
    assert (folder.rpartition("/")[2], keyspace) == ("sizes.job-1", "sizes")
    assert checked_output(NAMED, "/out", "job-1", overwrite=True) == OutputEnd("/out", overwrite=True)
    assert checked_output(NAMED, None, "job-1", overwrite=True).overwrite
    replacing = job(map=counts, input=KvInput(), output=KvOutput("sizes", mode="replace"))
    assert checked_output(replacing, None, "job-1", overwrite=False).overwrite, "as the job says"
    assert not checked_output(replacing, "/out", "job-1", overwrite=False).overwrite


@pytest.mark.parametrize(
    ("definition", "input", "output", "says"),
    [
        (BOTH, None, "kv:x", "names no input"),
        (BOTH, "kv:x", None, "names no output"),
        (BOTH, ["kv:x", "kv:y"], "kv:z", "read alone"),
        (BOTH, "kv:x", "kv:y/z", "gives whole keys"),
        (FILES, "kv:x", "/out", "reads files as 'lines'"),
        (BOTH, "users", "kv:x", "users' is a path, and the job reads a keyspace"),
        (BOTH, [], "kv:x", "names no input"),
        (SEVERAL, {"a": "kv:x"}, "/out", "kv:x is a keyspace, and the job reads files as 'lines'"),
        (FILES, "/in", "kv:x", "writes files as 'tsv'"),
        (job(map=numbered, input=FileInput("lines")), None, "/out", "names no input"),
    ],
)
def test_ends_that_do_not_suit_the_job_are_refused(
    definition: Any, input: Any, output: Any, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        checked_inputs(definition, input)
        checked_output(definition, output, "job-1", overwrite=False)


@pytest.mark.parametrize(("input", "output"), [("kv:users", "out"), ("records", "kv:sizes")])
def test_without_a_cluster_a_keyspace_is_refused(tmp_path: Path, input: str, output: str) -> None:
    with pytest.raises(InvalidArgument, match="only a cluster can run this"):
        run_local(BOTH, input, output)
    with pytest.raises(InvalidArgument, match="either an input or records"):
        run_local(BOTH, input, output, records=[])
    (tmp_path / "file").write_text("a 1")
    with pytest.raises(InvalidArgument, match="input is a path, and the job reads a keyspace"):
        run_local(BOTH, f"{tmp_path}/file", f"{tmp_path}/out")
    with pytest.raises(InvalidArgument, match="the job reads files as 'lines'"):
        run_local(FILES, output=f"{tmp_path}/out", records=[])
    (tmp_path / "file").unlink()
    assert list(tmp_path.iterdir()) == []


def test_the_input_of_a_local_run_is_a_path_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a\n")
    given: list[Any] = [tmp_path / "file", [tmp_path / "file"], f"{tmp_path}/file"]
    for number, input in enumerate(given):
        assert run_local(FILES, input, f"{tmp_path}/out{number}").records["map_in"] == 1
    assert run_local(SEVERAL, {"a": tmp_path / "file"}, f"{tmp_path}/out").records["map_in"] == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_records_stand_for_a_keyspace_in_a_local_run(tmp_path: Path, processes: int) -> None:
    records = [(b"b", [b"123"]), (b"a", [b"1"])]
    done = run_local(BOTH, output=f"{tmp_path}/out", records=records, processes=processes, reducers=1)
    assert [*read_output(f"{tmp_path}/out")] == [(b"a", b"1"), (b"b", b"3")]
    assert done.records["map_in"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "record",
    [(b"a", b"x"), ("a", [b"x"]), (b"a", ["x"]), (b"a", []), b"ab", (b"a", {b"n": "v"}), (b"a", True), 3],
)
def test_what_no_keyspace_can_hold_is_not_a_record(tmp_path: Path, record: Any) -> None:
    with pytest.raises(InvalidArgument, match="is not a record of a keyspace"):
        run_local(BOTH, output=f"{tmp_path}/out", records=[(b"b", [b"1"]), record])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"word\t3\n", b"\x93\xa1a\x00", b"\xc1"])
def test_other_files_are_not_read_as_records(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "part-00000").write_bytes(content)
    with pytest.raises(InvalidArgument, match="part-00000 is not an output of a job with KvOutput"):
        list(read_output(str(tmp_path)))


def test_a_part_may_be_larger_than_a_record_may_be(tmp_path: Path) -> None:
    row = encode_records([(b"k", [b"x" * (1 << 20)])])
    with (tmp_path / "part-00000").open("wb") as part:
        for _ in range(65):
            part.write(row)
    assert sum(len(value) for _, value in read_output(str(tmp_path))) == 65 << 20


def test_a_source_that_is_a_keyspace_needs_no_input_where_the_job_names_it() -> None:
    several = job(
        sources=[
            Source("users", map=counts, input=KvInput("users", b"a")),
            Source("more", map=counts, input=KvInput()),
        ]
    )
    with pytest.raises(InvalidArgument, match="no input for more"):
        checked_inputs(several, None)
    assert checked_inputs(several, ["more=kv:x"]) == {"users": ("kv:users/a",), "more": ("kv:x",)}
    given = checked_inputs(several, {"users": "kv:y", "more": ["kv:x"]})
    assert given == {"users": ("kv:y",), "more": ("kv:x",)}
    with pytest.raises(InvalidArgument, match="kv:x is one of 2 inputs; a keyspace is read alone"):
        checked_inputs(several, {"more": ["kv:x", "kv:y"]})
    spec = JobSpec.of(
        several, job="j", module="m", name="n", bundle_sha256="", inputs={**given}, output="/o"
    )  # fmt: skip
    assert (spec.levels, spec.consistency, spec.join_by) == (("quorum", "quorum"), "", "")
    with pytest.raises(InvalidArgument, match="consistency and output_keyspace are for keyspaces"):
        replace(spec, levels=("quorum",))
    with pytest.raises(InvalidArgument, match="consistency and output_keyspace are for keyspaces"):
        replace(spec, levels=())


def test_a_spec_tells_its_keyspaces() -> None:
    spec = JobSpec.of(
        BOTH, job="j-1", module="m", name="n", bundle_sha256="", inputs=("kv:users/a",), output="/o",
        output_keyspace="sizes",
    )  # fmt: skip
    again = JobSpec.decode(spec.encode())
    assert again == spec
    assert (again.keyspaces[0], again.consistency, again.shown_output) == (
        ("users", b"a"),
        "quorum",
        "kv:sizes",
    )
    for changes in (
        {"consistency": ""},
        {"output_format": "tsv"},
        {"inputs": ("kv:a", "kv:b")},
        {"bad_records": 3},
    ):
        with pytest.raises(InvalidArgument):
            JobSpec(**{**{name: getattr(spec, name) for name in spec.__slots__}, **changes})
