"""Programs in place of map and reduce, as in Hadoop streaming."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringmill import (
    Command,
    Context,
    FileInput,
    FileOutput,
    JobDefinition,
    KvInput,
    Source,
    Sum,
    job,
    run_local,
)
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api import commands
from ringmill.cluster.mapreduce.api.sources import check_names

MAPPER = Command(["awk", r'{ for (n = 1; n <= NF; n++) print $n "\t1" }'])
REDUCER = Command(
    [
        "awk",
        "-F",
        "\t",
        r'$1 != k && NR > 1 { print k "\t" c; c = 0 } { k = $1; c += $2 } END { if (NR) print k "\t" c }',
    ]
)


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def total(word: str, counts: Iterable[str]) -> Iterator[tuple[str, int]]:
    yield word, sum(map(int, counts))


def fields_of(offset: int, line: str, ctx: Context) -> Iterator[tuple[tuple[str, int], str]]:
    yield (line, offset), line


def written(output: Path) -> bytes:
    return b"".join(part.read_bytes() for part in sorted(output.glob("part-*")))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in") / "text.txt"
    path.write_text("".join(f"w{n % 97} w{n * n % 31} ümlaut\n" for n in range(9_000)) + "the end")
    return path


def test_a_program_maps_and_another_one_reduces(text: Path, tmp_path: Path) -> None:
    expected = Counter(text.read_text().split())
    plain = job(map=words, reduce=Sum())
    run_local(plain, str(text), str(tmp_path / "plain"))
    for name, definition in {
        "both": job(map=MAPPER, reduce=REDUCER),
        "map": job(map=MAPPER, reduce=total),
        "reduce": job(map=words, reduce=REDUCER),
        "combined": job(map=words, combine=Sum(), reduce=REDUCER),
    }.items():
        result = run_local(definition, str(text), str(tmp_path / name), split_mib=1)
        assert written(tmp_path / name) == written(tmp_path / "plain"), name
        assert result.records["map_in"] == 9_001
        assert result.records["reduce_out"] == len(expected)


def test_lines_are_kept_as_they_are_in_their_order(text: Path, tmp_path: Path) -> None:
    found = job(map=Command(["grep", "w7 "], gives="lines"), order="input", output=FileOutput("lines"))
    run_local(found, str(text), str(tmp_path / "out"))
    expected = [line for line in text.read_text().splitlines(keepends=True) if "w7 " in line]
    assert written(tmp_path / "out").decode() == "".join(expected)


def test_a_program_of_its_own_is_side_data_and_is_told_its_task_and_parameters(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "mapper"
    script.write_text('#!/bin/sh\nread line\necho "$RINGMILL_TASK $RINGMILL_PARAM_word\t$line"\n')
    script.chmod(0o755)
    told = job(map=Command(["./mapper"]), params={"word": ""}, reducers=1)
    [(name, path)] = told.side.items()
    assert (name[:15], path) == ("program-mapper-", "./mapper")
    run_local(told, str(text), "out", params={"word": "x"})
    assert written(tmp_path / "out") == "map-0 x\tw0 w0 ümlaut\n".encode(), "it may leave the rest unread"
    script.chmod(0o644)
    with pytest.raises(JobFailed, match=r"cannot be started: .*Permission denied"):
        run_local(told, str(text), "out2", params={"word": "x"})
    with pytest.raises(InvalidArgument, match="nope is no regular file"):
        run_local(job(map=Command(["./nope"])), str(text), "out3")


def test_files_whose_names_look_alike_are_files_of_their_own(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "./" + "folder/" * 9
    alike = ["./x.y", "./x_y", "../x.y", "./x/y", f"{long}a", f"{long}folder/a"]
    named = job(map=Command(["cat", *alike]))
    assert sorted(named.side.values()) == sorted(alike)
    check_names("side data", named.side)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etl").mkdir()
    for script, said in (("etl/map.py", "mapped"), ("etl_map.py", "reduced")):
        (tmp_path / script).write_text(f"#!/bin/sh\ncat > /dev/null; echo '{said}\tx'\n")
        (tmp_path / script).chmod(0o755)
    both = job(map=Command(["./etl/map.py"]), reduce=Command(["./etl_map.py"]), reducers=1)
    assert sorted(both.side.values()) == ["./etl/map.py", "./etl_map.py"]
    run_local(both, str(text), "out")
    assert written(tmp_path / "out") == b"reduced\tx\n"
    monkeypatch.setattr(commands, "xxh3_64_hexdigest", lambda part: "0")
    with pytest.raises(InvalidArgument, match=r"files \./x\.y and \./x_y of commands both have the name"):
        job(map=Command(["cat", "./x.y"]), reduce=Command(["cat", "./x_y"]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cat > /dev/null; echo broken >&2; exit 3", "ended with status 3; its stderr ends: broken"),
        ("kill -9 $$", "was ended by SIGKILL"),
        ("head -c 70000000 /dev/zero", "without a line feed"),
    ],
)
def test_a_program_that_fails_says_why(line: str, said: str, text: Path, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=said) as failed:
        run_local(job(map=Command(["sh", "-c", line])), str(text), str(tmp_path / "out"))
    assert failed.value.detail["cause"] == "UserError"
    with pytest.raises(JobFailed, match=r"reduce-0.*" + said):
        definition = job(map=words, reduce=Command(["sh", "-c", line]), reducers=1)
        run_local(definition, str(text), str(tmp_path / "out"))


def test_a_program_that_closes_its_outputs_still_gets_all_of_its_input(text: Path, tmp_path: Path) -> None:
    quiet = Command(["sh", "-c", f"exec > {tmp_path}/read 2> /dev/null; exec cat"])
    run_local(job(map=quiet), str(text), str(tmp_path / "out"))
    assert (tmp_path / "read").read_bytes() == text.read_bytes() + b"\n"
    assert written(tmp_path / "out") == b""


def test_a_program_is_ended_with_an_attempt_that_fails(text: Path, tmp_path: Path) -> None:
    pid, torn = tmp_path / "pid", tmp_path / "torn.txt.gz"
    torn.write_bytes(gzip.compress(text.read_bytes())[:-1000])
    definition = job(map=Command(["sh", "-c", f"echo $$ > {pid}; cat > {tmp_path}/read; exec sleep 600"]))
    with pytest.raises(JobFailed, match=r"torn\.txt\.gz"):
        run_local(definition, str(torn), str(tmp_path / "out"))
    number = pid.read_text().strip() if pid.exists() else ""  # it may end before it has written its number
    assert not number or not os.path.exists(f"/proc/{number}")


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("a command is a list of texts", {"map": []}),
    ("a command is a list of texts", {"map": "cat"}),
    ("a command is a list of texts", {"map": [3]}),
    ("a command is a list of texts", {"map": ["a\0"]}),
    ("'pairs' or 'lines'", {"map": ["cat"], "gives": "rows"}),
    ("reads lines", {"map": ["cat"], "input": FileInput("csv")}),
    ("reads lines", {"map": ["cat"], "input": KvInput()}),
    ("order='total' puts a sample", {"map": ["cat"], "order": "total"}),
    ("takes many at once", {"map": ["cat"], "on_bad_record": "quarantine:5"}),
    ("combine", {"map": ["cat"], "combine": MAPPER}),
]


@pytest.mark.parametrize(("said", "given"), WRONG)
def test_what_a_program_cannot_do_is_refused(said: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=said):
        job(map=Command(given.pop("map"), gives=given.pop("gives", "pairs")), **given)


def test_a_reduce_that_is_a_program_takes_no_part_of_keys() -> None:
    with pytest.raises(InvalidArgument, match="group_by has no meaning"):
        job(map=fields_of, reduce=REDUCER, group_by=1)


def test_a_program_may_be_the_map_of_one_source_of_several(text: Path, tmp_path: Path) -> None:
    one: JobDefinition = job(sources=[Source("a", MAPPER), Source("b", MAPPER)], reduce=REDUCER)
    run_local(one, {"a": str(text), "b": str(text)}, str(tmp_path / "out"))
    counts = dict(line.split("\t") for line in written(tmp_path / "out").decode().splitlines())
    assert {word: int(count) for word, count in counts.items()} == {
        word: 2 * count for word, count in Counter(text.read_text().split()).items()
    }
