"""Jobs of several inputs, joins, groups by a part of the key, side data and jobs without a reduce, typed in a
shell at five real processes: the bytes of one process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringmill import run_local
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

MODULE = """
from collections.abc import Iterable, Iterator
from pathlib import Path
from ringmill import Context, FileInput, FileOutput, Source, job, join

def clicks(line: int, row: dict[str, str], ctx: Context) -> Iterator[tuple[tuple[str, int], str]]:
    if row["page"] not in Path(ctx.side("hidden")).read_text().split():
        yield (row["user"], int(row["time"])), row["page"]

def visits(offset: int, line: str) -> Iterator[tuple[tuple[str, int], str]]:
    user, time = line.split()
    yield (user, int(time)), "shop"

def shout(offset: int, line: str) -> Iterator[tuple[str, None]]:
    yield line.upper(), None

def path(user: str, pages: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield user, " ".join(pages)

CLICKS, USERS = Source("clicks", input=FileInput("csv")), Source("users", input=FileInput("csv"))
JSON = FileOutput("jsonl")
merged = join(CLICKS, USERS, on="user", how="outer", output=JSON)
given_to_all = join(CLICKS, USERS, on="user", how="left", output=JSON)
upper = job(map=shout, output=FileOutput("lines", "zstd"), reducers=0, split_mib=1)
paths = job(
    sources=[Source("clicks", clicks, input=FileInput("csv")), Source("visits", visits)],
    reduce=path,
    group_by=1,
    side={"hidden": ""},
)
"""


@pytest.mark.parametrize("name", ["merged", "given_to_all", "paths"])
def test_it_gives_the_bytes_of_one_process(shell: Shell, name: str) -> None:
    folder, other = shell.folder, "visits" if name == "paths" else "users"
    (folder / "shapes.py").write_text(MODULE)
    rows = "".join(f"u{n * 7919 % 50},{n * 31 % 9973},p{n % 7}\n" for n in range(3000))
    (folder / "clicks.csv").write_text("user,time,page\n" + rows)
    (folder / "users.csv").write_text("user,name\n" + "".join(f"u{n},name {n}\n" for n in range(10, 60)))
    (folder / "visits.txt").write_text("".join(f"u{n} {n * 100}\n" for n in range(60)))
    (folder / "hidden.txt").write_text("p3 p5")
    paths = {"clicks": "clicks.csv", other: "visits.txt" if name == "paths" else "users.csv"}
    side = {"hidden": "hidden.txt"} if name == "paths" else {}
    typed = [text for key, path in paths.items() for text in ("--input", f"{key}={path}")]
    typed += [text for key, path in side.items() for text in ("--side", f"{key}={path}")]
    output = folder / f"shapes-{name}"
    told = shell.ok("job", "estimate", f"shapes.py:{name}", *typed, "-o", "json").json
    done = shell.ok("job", "run", f"shapes.py:{name}", *typed, "--output", output.name, "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["tasks"]["map"] == (1 if name == "given_to_all" else 2)
    assert (told["maps"], told["reduces"]) == (done["tasks"]["map"], done["tasks"]["reduce"])
    assert told["at_once"] >= 1 and 0 < told["least_s"] < told["seconds"] < told["most_s"]
    with closing(OsFileSystem()) as files:
        definition = load_job_module(f"shapes.py:{name}", files, str(folder)).definition
    alone = run_local(
        definition,
        {key: f"{folder}/{path}" for key, path in paths.items()},
        f"{output}-alone",
        side={key: f"{folder}/{path}" for key, path in side.items()},
    )
    parts = [part.read_bytes() for part in sorted(output.glob("part-*"))]
    assert [Path(part).read_bytes() for part in alone.parts] == parts
    lines = b"".join(parts).splitlines()
    assert len(lines) == {"merged": 3010, "given_to_all": 3000, "paths": 60}[name]


def test_without_reducers_each_map_writes_a_part(shell: Shell) -> None:
    folder, output = shell.folder, shell.folder / "upper"
    (folder / "upper.py").write_text(MODULE)
    (folder / "text.txt").write_text("".join(f"word {n}\n" for n in range(200_000)))
    typed = ["upper.py:upper", "--input", "text.txt", "--output"]
    done = shell.ok("job", "run", *typed, output.name, "-o", "json").json
    assert done["state"] == "SUCCEEDED" and (done["tasks"]["map"], done["tasks"]["reduce"]) == (3, 0)
    assert b"reduce" not in shell.ok("job", "explain", done["job"]).out
    shell.ok("job", "local", *typed, "alone")
    parts = [part.read_bytes() for part in sorted(output.iterdir())]
    assert parts == [part.read_bytes() for part in sorted((folder / "alone").iterdir())]
    refused = shell.run("job", "run", *typed, "other", "--on-bad-record", "quarantine:3")
    assert refused.code == 2 and "no task gathers" in refused.err


CHAIN = """
from collections.abc import Iterable, Iterator
from ringmill import Context, FileInput, FileOutput, RoundResult, Source, Sum, iterate, job, join, pipeline

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1

def halved(word: str, count: int, ctx: Context) -> Iterator[tuple[str, int]]:
    ctx.count("moved", count > 100)
    yield word, count // 2 if count > 100 else count

def by_count(word: str, count: int) -> Iterator[tuple[tuple[int, str], None]]:
    yield (-count, word), None

def ranked(key: tuple[int, str], nothing: Iterable[None]) -> Iterator[tuple[str, int]]:
    yield key[1], -key[0]

def small(result: RoundResult) -> bool:
    return result.number == 2 and max(count for _, count in result.records()) < 101

def broken(result: RoundResult) -> bool:
    return result.records() is None or 1 / 0

def kept(word: str, count: int) -> Iterator[tuple[str, int]]:
    yield word, count

def told(word: str, count: int, meaning: int) -> Iterator[tuple[str, int]]:
    yield word, count + meaning

RECORDS = FileInput("records")
counts = job(map=words, reduce=Sum(), reducers=1)
meant = join(Source("counts", map=kept, input=RECORDS), Source("meanings", map=words), result=told)
halves = job(map=halved, reduce=Sum(), input=RECORDS)
bad = pipeline(counts, iterate(halves, max=9, until=broken))
ranks = pipeline(
    job(map=words, reduce=Sum()),
    iterate(halves, max=9, until="moved"),
    iterate(halves, max=9, until=small),
    meant,
    job(map=by_count, reduce=ranked, input=RECORDS, reducers=1),
)
"""


def test_a_pipeline_is_one_job(shell: Shell) -> None:
    folder = shell.folder
    (folder / "chain.py").write_text(CHAIN)
    (folder / "chained.txt").write_text("".join(f"w{n % 7} w{n % 3} x\n" for n in range(1000)))
    (folder / "meanings.txt").write_text("".join(f"w{n}\n" for n in range(6)))
    typed = ["chain.py:ranks", "--input", "input=chained.txt", "--input", "meanings=meanings.txt", "--output"]
    job = shell.ok("job", "run", *typed, "ranks", "--detach", "-o", "json").json["job"]
    done = shell.ok("job", "follow", job, "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["output"] == str(folder / "ranks")
    shell.ok("job", "local", *typed, "ranks-alone")
    parts = [part.read_bytes() for part in sorted((folder / "ranks").iterdir())]
    assert parts == [part.read_bytes() for part in sorted((folder / "ranks-alone").iterdir())]
    assert [each.name for each in folder.glob(".ranks*")] == [], "nothing lies beside the output any more"
    told = shell.ok("job", "status", job, "-o", "json").json
    assert [event for event in told["events"] if "(job 2 of 5, round 2)" in event]
    assert [event for event in told["events"] if "(job 3 of 5, round 2)" in event]
    assert not [event for event in told["events"] if "(job 3 of 5, round 3)" in event], "a function says so"
    failed = shell.run("job", "run", "chain.py:bad", "--input", "chained.txt", "--output", "bad")
    assert failed.code == 1 and "UserError: ZeroDivisionError" in failed.err and "in broken()" in failed.err
    assert [row["name"] for row in told["stages"]][:4] == ["1:map", "1:reduce", "2:map", "2:reduce"]
    chain = told["chain"]
    assert (chain["jobs"], chain["job"], chain["round"]) == (5, 5, 1)
    assert [row["stage"] for row in chain["stages"]] == [*range(1, chain["over"] + 2)]
    first, last = chain["stages"][0], chain["stages"][-1]
    read = (folder / "chained.txt").stat().st_size
    assert (first["bytes_in"], first["records_in"], first["began_s"]) == (read, 1000, 0.0)
    ends = [row["ended_s"] for row in chain["stages"]]
    assert [row["began_s"] for row in chain["stages"]] == [0.0, *ends[:-1]], "one follows the other"
    row = next(one for one in shell.ok("job", "history", "-o", "json").json if one["job"] == job)
    assert row["records"] == {"in": 1000, "out": last["records_out"]} and row["bytes"]["in"] == read
    explained = shell.ok("job", "explain", job).out.decode().splitlines()
    assert explained[1].startswith(f"chain: stage {last['stage']}, job 5 of 5") and len(explained) < 40
    assert "the stages before" in "".join(explained)
    assert shell.ok("job", "status", job, "--tasks").out
    shell.ok("job", "run", "chain.py:counts", "--input", f"job:{job}", "--output", "of-ranks")
    assert (folder / "of-ranks" / "part-00000").read_bytes().count(b"\n") > 6, "words of the ranks"
    refused = shell.run("job", "run", *typed[:3], "--input", "meanings=no-such.txt", "--output", "other")
    assert "names no file" in refused.err and "nothing was changed" in refused.err, "before anything runs"
    refused = shell.run("job", "run", *typed, "other", "--reducers", "3")
    assert refused.code == 2 and "a setting of each job" in refused.err


STATES = """
from collections.abc import Iterable, Iterator
from ringmill import Context, FileInput, Sum, iterate, job, pipeline

def links(offset: int, line: str) -> Iterator[tuple[int, int]]:
    page = int(line)
    yield page, (page * 7 + 1) % 3000
    yield page, page * page % 3000

def page_of(page: int, targets: Iterable[int]) -> Iterator[tuple[int, tuple[int, list[int]]]]:
    yield page, (1000, list(targets))

def shares(page: int, state: tuple[int, list[int]]) -> Iterator[tuple[int, int]]:
    for target in state[1]:
        yield target, state[0] // 2

def ranked(
    page: int, state: tuple[int, list[int]] | None, given: Iterable[int], ctx: Context
) -> tuple[int, list[int]]:
    ctx.count("new", state is None)
    return 150 + sum(given) * 85 // 100, state[1] if state else [page + 1]

states = pipeline(
    job(map=links, reduce=page_of),
    iterate(job(map=shares, combine=Sum(), update=ranked, input=FileInput("records"), reducers=3), max=3),
)
alone = job(map=shares, update=ranked, input=FileInput("records"))
"""


def test_an_iteration_that_keeps_states_gives_the_bytes_of_one_process(shell: Shell) -> None:
    folder = shell.folder
    (folder / "states.py").write_text(STATES)
    (folder / "pages.txt").write_text("".join(f"{page}\n" for page in range(2000)))
    typed = ["states.py:states", "--input", "pages.txt", "--output"]
    done = shell.ok("job", "run", *typed, "kept", "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["counters"]["new"] > 0
    shell.ok("job", "local", *typed, "kept-alone")
    parts = [part.read_bytes() for part in sorted((folder / "kept").iterdir())]
    assert parts == [part.read_bytes() for part in sorted((folder / "kept-alone").iterdir())]
    told = shell.ok("job", "status", done["job"], "-o", "json").json
    assert [event for event in told["events"] if "(job 3 of 4, round 3)" in event]
    chain = shell.ok("job", "explain", done["job"], "-o", "json").json["chain"]["stages"]
    assert [(each["job"], each["round"]) for each in chain] == [
        (1, 1),
        (2, 1),
        (3, 1),
        (3, 2),
        (3, 3),
        (4, 1),
    ]
    for verb in ("run", "local", "estimate"):
        output = () if verb == "estimate" else ("--output", "no")
        refused = shell.run("job", verb, "states.py:alone", "--input", "pages.txt", *output)
        assert refused.code == 2 and "a job with update is a step of an iteration" in refused.err
